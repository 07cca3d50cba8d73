"""Every benchmark, at a size that takes seconds."""

import dataclasses
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from benchmarks import (
    fixed_costs,
    hot_key,
    preparation,
    scoring,
    scoring_files,
    starting,
    training,
)
from benchmarks.__main__ import ASKED_FOR, PARTS
from benchmarks.figure import Figure, save
from benchmarks.logs import IDS, NUMBERS, Size, make_run
from benchmarks.rounds import Rates, interleave
from benchmarks.shipped import ROOT
from fulcrum.features.prepared.prepare import prepare
from fulcrum.models.layers.stacked import StackedLinear
from fulcrum.models.network import Network

SMALL = Size(rows=2048, values=200, batch_size=128, steps=4, rounds=2, repeats=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where one benchmark leaves what the next one uses."""
    folder = tmp_path_factory.mktemp("benchmarks")
    figures = preparation.plain(folder, SMALL)
    assert [figure.what for figure in figures] == [
        preparation.PLAIN,
        f"{preparation.PLAIN}: peak memory",
        preparation.FRAMES,
    ]
    assert (figures[0].to, figures[0].aim) == (preparation.FRAMES, 2.0)
    return folder


@pytest.fixture(scope="module")
def dataset(folder):
    run = make_run(folder, SMALL)
    return prepare(run, folder / "plain")


def test_the_network_is_the_one_that_was_agreed_on(dataset):
    layout = dataset.state.layout
    assert (len(layout.ids), len(layout.dense), len(layout.tasks)) == (IDS, NUMBERS, 3)
    assert {table.rows for table in layout.tables} == {SMALL.values + 2}
    assert Size().values + 2 == 100_000
    model = make_run(dataset.folder, SMALL).model
    assert (model.experts, model.expert, model.embedding_dim) == (6, (256, 128), 16)


@pytest.mark.slow
def test_starting(tmp_path):
    *commands, shown, torch_alone = starting.measure(tmp_path, dataclasses.replace(SMALL, rounds=1))
    assert {figure.to for figure in commands} == {torch_alone.what}
    ratios = {figure.what: figure.ratio for figure in commands}
    assert ratios[starting.HELP] > ratios[starting.SCORE]
    assert ratios[starting.HELP] > 1
    assert shown.ratio == pytest.approx(1.5 / float(shown.measured.split()[0]), rel=0.01)


@pytest.mark.slow
def test_fixed_costs(tmp_path):
    total, *parts = fixed_costs.measure(tmp_path, dataclasses.replace(SMALL, batch_size=256))
    assert (total.what, total.aim) == (fixed_costs.TRAIN, 1.0)
    seconds = {part.what.removeprefix("of it: "): float(part.measured[:-2]) for part in parts}
    assert seconds.keys() == {
        *(fixed_costs.IMPORTS, fixed_costs.REST),
        *fixed_costs.PARTS.values(),
    }
    assert all(value >= 0 for value in seconds.values())
    besides = sum(seconds.values()) - seconds[fixed_costs.WORK]
    # Each part is told to a tenth of a second, and medians do not add up to the median.
    assert fixed_costs.AIM / total.ratio == pytest.approx(besides, abs=0.1 * len(seconds))


@pytest.mark.slow
def test_a_hot_key(tmp_path):
    row, beside, posted, load, store, *starts = hot_key.measure(tmp_path, SMALL)
    assert row.ratio == pytest.approx(hot_key.MILLISECONDS / float(row.measured[:-3]), rel=0.05)
    assert (beside.to, beside.aim) == ("a row of another item", 0.8)
    assert posted.measured.endswith(" ms")
    assert load.measured.endswith(" µs an event")
    assert store.measured.endswith(" B an event")
    assert [start.what for start in starts] == [
        "the start, allowed lateness 1h",
        "the start, all events held",
    ]


def test_features_of_the_past(folder):
    speed, memory = preparation.looking_back(folder, SMALL)
    assert (speed.what, speed.to) == (preparation.LOOKING_BACK, preparation.PLAIN)
    assert speed.aim == 0.5
    assert memory.measured.endswith(" GiB")
    (dealt,) = preparation.dealt(folder, SMALL)
    assert (dealt.what, dealt.to) == (preparation.DEALT, preparation.LOOKING_BACK)


def test_training(folder, dataset):
    fp32, bf16, reading, reading_bf16, limit = training.measure(folder, SMALL)
    assert (fp32.aim, bf16.aim, reading.aim) == (0.8, 1.1, 5.0)
    assert fp32.to == bf16.to == limit.what
    assert (reading.to, reading_bf16.to) == (fp32.what, bf16.what)
    assert all(figure.ratio > 0 for figure in (fp32, bf16, reading, reading_bf16))


def test_training_a_small_network(folder, dataset):
    rate, rest, bare = training.small(folder, SMALL)
    assert rate.to == bare.what
    assert rest.measured.endswith(" ms a step")
    assert rest.aim == 1.0


def test_the_limit_counts_the_products_of_a_step(folder, dataset):
    run = make_run(folder, SMALL)
    network = Network(dataset.state.layout, run.model, tables_device=torch.device("cpu"))
    weights = {
        name: module.weight.numel()
        for name, module in network.named_modules()
        if isinstance(module, StackedLinear)
    }
    first = weights["objective.predictor.bottom.fields.dense"]
    experts, gates, width = 6, 3, 128
    mixing = 3 * 2 * gates * experts * width
    # Three products for each weight; the numbers that come in need no gradient.
    expected = 3 * 2 * sum(weights.values()) - 2 * first + mixing
    counted = training.flops_per_row(network, dataset, SMALL.batch_size)
    assert counted == pytest.approx(expected)


@pytest.mark.slow
def test_scoring(folder, dataset):
    graph, many, beside_eager, raw, eager, limit = scoring.measure(folder, SMALL)
    assert graph.to == many.to == limit.what
    assert (beside_eager.to, raw.to) == (eager.what, graph.what)
    speed, memory, several = scoring_files.measure(folder, SMALL)
    assert speed.what == several.to == scoring_files.FILES
    assert memory.measured.endswith(" GiB")


def test_a_ratio_is_taken_within_each_round():
    rates = Rates([{"a": 1.0, "b": 2.0}, {"a": 10.0, "b": 10.0}, {"a": 3.0, "b": 4.0}])
    assert rates.ratio("a", "b") == 3 / 4
    assert rates.median("a") == 3.0
    assert rates.spread("b") == (2.0, 10.0)


def test_rounds_take_turns():
    order = []
    actions = {name: lambda name=name: order.append(name) or 1.0 for name in "ab"}
    assert len(interleave(2, actions).rounds) == 2
    assert order == ["a", "b"] * 3


def test_the_table_tells_ratios_first_and_missed_aims(tmp_path):
    plain = Figure("memory", "1 GiB")
    missed = Figure("training", "9 rows/s", 0.444, "limit", 0.45)
    met = dataclasses.replace(missed, ratio=0.46)
    save(tmp_path / "table.md", "2 cores", {"first": [plain, missed, met], "second": [plain]})
    machine, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert machine == "2 cores"
    assert lines[1::2][:1] + lines[5:8] == [
        "## first",
        "| training | 9 rows/s | 0.44 | limit | 0.45 (missed) |  |",
        "| training | 9 rows/s | 0.46 | limit | 0.45 |  |",
        "| memory | 1 GiB |  |  |  |  |",
    ]
    assert lines[9] == "## second"


def test_every_part_is_made_by_functions_that_exist():
    for part in (*PARTS, *ASKED_FOR):
        for name in PARTS[part]:
            module, function = name.split(":")
            assert callable(getattr(import_module(f"benchmarks.{module}"), function)), name


def test_an_unknown_part_is_refused_before_anything_is_timed():
    command = [sys.executable, "-m", "benchmarks", "traning"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 2
    assert "traning" in ended.stderr and "training" in ended.stderr
