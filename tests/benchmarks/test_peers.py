"""The peers' work on a small log; `make bench-peers` takes minutes."""

import numpy as np
import polars as pl
import pytest

from benchmarks import peers
from benchmarks.logs import IDS, NUMBERS, Size, write_logs
from benchmarks.peers import DEEPCTR, PACKAGES, RECHUB, ratios
from benchmarks.peers.work import census, encode, wide
from fulcrum.models.trunks.mmoe import MMoEConfig

SETTINGS = ("embedding_dim", "experts", "expert", "tower")
SMALL = Size(rows=2048, values=200, batch_size=128, rounds=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    write_logs(folder, SMALL)
    return folder


def test_everybody_learns_the_same_tasks_from_the_same_features(folder):
    for run in (wide(folder, SMALL), census(folder)):
        encoded = encode(run)
        assert run.features.keys() == set(encoded.features)
        assert tuple(run.tasks) == encoded.labels
        assert encoded.network == run.model
        # The peers take over these settings alone, so the others must be what they leave out.
        settings = {name: getattr(run.model, name) for name in SETTINGS}
        assert run.model == MMoEConfig(**settings)
        assert set(encoded.frame[list(encoded.labels)].to_numpy().ravel()) == {0, 1}


def test_ids_count_from_nought_and_numbers_lie_between_nought_and_one(folder):
    encoded = encode(wide(folder, SMALL))
    assert (len(encoded.sizes), len(encoded.numbers)) == (IDS, NUMBERS)
    raw = pl.read_parquet(folder / "logs.parquet", glob=False)
    for name, size in encoded.sizes.items():
        codes = encoded.frame[name].to_numpy()
        assert size == raw[name].n_unique() == len(set(codes))
        assert (codes.min(), codes.max()) == (0, size - 1)
        assert np.array_equal(raw[name].to_numpy()[np.argsort(codes)], raw[name].sort())
    for name in encoded.numbers:
        numbers = encoded.frame[name]
        assert (numbers.min(), numbers.max()) == pytest.approx((0, 1))
    assert np.array_equal(encoded.frame["click"], raw["click"].cast(pl.Int64))


def test_a_library_that_is_missing_says_how_to_install_it_and_the_rest_goes_on(folder, monkeypatch):
    absent = {RECHUB: "no_such_package", DEEPCTR: "no_such_package"}
    monkeypatch.setattr(peers, "PACKAGES", PACKAGES | absent)
    figures = ratios.of_census(folder, SMALL)
    assert [figure.measured for figure in figures[1:]] == [ratios.INSTALL] * 2
    assert figures[0].measured.endswith("rows/s")


@pytest.mark.slow
@pytest.mark.skipif(not peers.installed(RECHUB), reason="`make bench-peers` installs it")
def test_ratios(folder):
    rechub, deepctr, *_, graph, their_graph = ratios.of_wide(folder, SMALL)
    assert RECHUB in rechub.to and DEEPCTR in deepctr.to
    assert graph.to == their_graph.what
    assert all(figure.ratio > 0 for figure in (rechub, deepctr, graph))
