"""The numbers behind the rules, against counting by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.promotion.evidence import _unknown, _unripe
from fulcrum.pipelines.promotion.gains import calibrations, gains, support
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.testing.specs import make_spec
from tests.pipelines.quality.scored_rows import predictions


def test_rows_that_still_wait_are_counted_and_ids_that_nobody_knows(tmp_path):
    """An event an hour for 100 hours; a label that is a day late is open in the last 24, all of
    them among the 60 of the test split. `b` came after the 40 of training."""
    log = pl.DataFrame(
        {
            "t": 1_700_000_000 + 3600 * np.arange(100),
            "user": np.repeat(["a", "b"], 50),
            "click": np.arange(100) % 2,
            "bought": np.arange(100) % 3 % 2,
        }
    )
    log.write_parquet(tmp_path / "log.parquet")
    data = {
        "events": str(tmp_path / "log.parquet"),
        "time": {"column": "t", "unit": "s"},
        "outcomes": {"click": {}, "bought": {"known_after": "1d"}},
        "split": {"kind": "time", "valid": 0.0, "test": 0.6},
    }
    tasks = {name: {"kind": "binary", "label": name} for name in ("click", "bought")}
    spec = make_spec({"user": {"kind": "categorical"}}, data, tasks)
    dataset = prepare(spec, tmp_path)
    assert _unripe(dataset, "test") == {"bought": 24 / 60}
    assert _unripe(dataset, "train") == {"bought": 0.0}
    assert _unknown(dataset, "test") == {"user": 50 / 60}


def test_calibrations_are_the_metric_where_labels_have_such_a_ratio():
    """One of the normal labels is below 0."""
    rows = predictions()
    assert rows.labels[:, 1].min() < 0
    assert calibrations(rows).keys() == {"click"}
    positive = replace(rows, labels=np.abs(rows.labels))
    known, metrics = calibrations(positive), measure(positive)
    assert {task: samples[0] for task, samples in known.items()} == pytest.approx(
        {task: metrics[f"calibration/{task}"] for task in ("click", "watch")}
    )


def test_gains_are_differences_that_grow_as_a_model_gets_better():
    worse, better = predictions(skill=0.2), predictions(skill=0.6)
    ours, theirs = gains(better, worse), gains(worse, better)
    before, after = measure(worse), measure(better)
    for gain, loss in zip(ours, theirs, strict=True):
        name = f"{gain.metric}/{gain.task}"
        assert (gain.value, gain.other) == pytest.approx((after[name], before[name]))
        assert gain.samples[0] > 0
        assert gain.samples == pytest.approx(-loss.samples, nan_ok=True)
        low, high = gain.ends(3)
        assert low < gain.ends()[0] < gain.samples[0] < gain.ends()[1] < high


def test_support_is_that_of_the_rarer_class():
    rows = predictions()
    observed = rows.observed.sum(0)
    clicks = int(rows.labels[rows.observed[:, 0], 0].sum())
    expected = {
        "click": min(clicks, observed[0] - clicks),
        "watch": observed[1],
        "page": observed[2],
    }
    assert support(rows) == expected
