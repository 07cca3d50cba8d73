"""Every benchmark, at a size that takes seconds."""

import dataclasses

import pytest
import torch

from benchmarks import preparation, scoring, scoring_files, starting, training
from benchmarks.figure import Figure, save
from benchmarks.logs import IDS, NUMBERS, Size, make_run
from benchmarks.rounds import Rates, interleave
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
    ]
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


def test_starting(tmp_path):
    helped, shown, torch_alone = starting.measure(tmp_path, dataclasses.replace(SMALL, rounds=1))
    assert helped.to == shown.to == torch_alone.what
    assert helped.ratio > 1 > shown.ratio > 0


def test_features_of_the_past(folder):
    speed, memory = preparation.looking_back(folder, SMALL)
    assert speed.what == preparation.LOOKING_BACK
    assert memory.measured.endswith(" GiB")


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


def test_scoring(folder, dataset):
    graph, few, beside_eager, raw, eager, limit = scoring.measure(folder, SMALL)
    assert graph.to == few.to == limit.what
    assert (beside_eager.to, raw.to) == (eager.what, graph.what)
    speed, memory = scoring_files.measure(folder, SMALL)
    assert speed.what == scoring_files.FILES
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
    save(tmp_path / "table.md", "2 cores", [plain, missed, met])
    machine, _, _, _, *rows = (tmp_path / "table.md").read_text().splitlines()
    assert machine == "2 cores"
    assert rows == [
        "| training | 0.44 | limit | 0.45 (missed) | 9 rows/s |  |",
        "| training | 0.46 | limit | 0.45 | 9 rows/s |  |",
        "| memory |  |  |  | 1 GiB |  |",
    ]
