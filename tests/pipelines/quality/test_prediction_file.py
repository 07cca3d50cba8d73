"""Scored rows in a file: the bits that they have in memory, a task at a time, nothing left."""

import os
import resource
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fulcrum.features.errors import ResourceError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.pipelines.calibration.fit import fit
from fulcrum.pipelines.promotion.gains import calibrations, gains, support
from fulcrum.pipelines.promotion.scores import only
from fulcrum.pipelines.quality import prediction_file
from fulcrum.pipelines.quality.constant import Constant
from fulcrum.pipelines.quality.evidence import evidence
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.prediction_file import PredictionFile
from fulcrum.pipelines.quality.predictions import Predictions, row_loss
from fulcrum.pipelines.quality.pulls import with_pulls
from tests.pipelines.quality.arrays import Arrays, arrays
from tests.pipelines.quality.scored_rows import predictions

FIGURES: dict[str, Callable[[Predictions], object]] = {
    "measure": measure,
    "evidence": evidence,
    "pulls": with_pulls,
    "gains": lambda rows: [(g.value, g.other, g.samples) for g in gains(rows, rows)],
    "calibrations": calibrations,
    "support": support,
    "fit": lambda rows: {task: repr(found) for task, found in fit(rows).items()},
    "constant": lambda rows: measure(Constant(rows.layout, dict.fromkeys(SCORES, 0.25), rows)),
    "some": lambda rows: measure(only(rows, rows.layout.tasks[1:], np.arange(0, 200, 3))),
}
"""What is made of scored rows."""
ROWS = 8_000
SCORES = predictions().layout.score_columns


def float32() -> Arrays:
    """Users with sessions, as a network scores them."""
    rows = predictions(groups=20)
    parts = {n: getattr(rows, n).astype(np.float32) for n in ("scores", "labels", "weight")}
    losses = np.random.default_rng(0).random((200, 3)).astype(np.float32) * rows.observed
    return replace(rows, **parts, losses=losses, session=rows.group * 10 + np.arange(200) % 3)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_the_bits_that_it_has_in_memory(name, tmp_path):
    rows = float32()
    np.testing.assert_equal(FIGURES[name](rows.filed(tmp_path)), FIGURES[name](rows))


@pytest.mark.parametrize("waits", [1, 5_000, 2**20])
def test_what_is_read_is_what_was_written_however_much_waits(waits, tmp_path, monkeypatch):
    """NaN, infinities and the sign of zero as well."""
    monkeypatch.setattr(prediction_file, "BUFFER", waits)
    rows = float32()
    rows.scores[:4, 0] = np.nan, np.inf, -np.inf, -0.0
    read = arrays(rows.filed(tmp_path, batch=23))
    for name in ("scores", "losses", "labels", "observed", "weight", "group", "session"):
        one, other = getattr(read, name), getattr(rows, name)
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())


def test_losses_that_nobody_gives_are_those_of_the_scores(tmp_path):
    rows = float32()
    file = PredictionFile(rows.layout, tmp_path)
    file.add(rows.scores, rows.labels, rows.observed, rows.weight, rows.group, rows.session)
    file.end()
    for task in rows.layout.tasks:
        label, observed = (rows.column(f"{what}.{task.name}") for what in ("label", "observed"))
        expected = row_loss(task, rows.scores_of(task), label, observed)
        np.testing.assert_array_equal(file.column(f"loss.{task.name}"), expected)
        assert not file.column(f"loss.{task.name}")[~observed].any()


def test_columns_of_all_processes_are_joined_in_the_order_of_ranks(tmp_path):
    whole = float32()
    first, second = (
        only(whole, whole.layout.tasks, part) for part in (slice(0, 90), slice(90, 200))
    )
    there = arrays(second).filed(tmp_path)
    asked = []

    def gather(own: np.ndarray) -> np.ndarray:
        return np.concatenate([own, there.column(asked[-1])])

    class Asked(PredictionFile):
        def column(self, name: str) -> np.ndarray:
            asked.append(name)
            return super().column(name)

    here = Asked(whole.layout, tmp_path, gather)
    own = arrays(first)
    of_rows = (own.weight, own.group, own.session)
    here.add(own.scores, own.labels, own.observed, *of_rows, own.losses)
    assert measure(here.end()) == measure(whole)


class Watched(PredictionFile):
    """Notes what Arrow holds, which Python does not count, after every read."""

    held = 0

    def column(self, name: str) -> np.ndarray:
        column = super().column(name)
        self.held = max(self.held, pa.total_allocated_bytes())
        return column


def of_tasks(count: int, folder: Path) -> Watched:
    """Rows of so many tasks."""
    random, rows = np.random.default_rng(0), ROWS
    names = [f"t{place}" for place in range(count)]
    tasks = tuple(TaskSpec(name=name, kind="binary") for name in names)
    scores = random.random((rows, count), np.float32)
    group = random.integers(1, 100, rows)  # of which pulls are kept
    labels = (random.random((rows, count)) < scores).astype(np.float32)
    observed, weight = np.ones((rows, count), bool), np.ones(rows, np.float32)
    file = Watched(Layout(tables=(), tasks=tasks), folder)
    file.add(scores, labels, observed, weight, group, group * 10, scores)
    file.end()
    return file


def peak(figure: Callable[[Predictions], object], rows: Watched) -> int:
    """Bytes of arrays, NumPy's and Arrow's."""
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        figure(rows)
        return tracemalloc.get_traced_memory()[1] + rows.held - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["measure", "pulls"])
def test_memory_does_not_grow_with_tasks(name, tmp_path):
    """Two tasks, since the rows of one are there until those of the next are."""
    few, many = (peak(FIGURES[name], of_tasks(count, tmp_path)) for count in (2, 16))
    assert few > ROWS * 40
    assert many < 1.1 * few


def test_no_file_can_be_left_behind(tmp_path):
    """It has no name while it is there, so a process that is killed leaves none."""
    before = len(os.listdir("/proc/self/fd"))
    file = float32().filed(tmp_path)
    assert os.listdir(tmp_path) == [] and len(os.listdir("/proc/self/fd")) == before + 1
    measure(file)
    del file
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("waits", [1, 2**26])
def test_a_full_disk_is_told(waits, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_file, "BUFFER", waits)
    rows, limits = float32(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match="no space left to write"):
            rows.filed(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
