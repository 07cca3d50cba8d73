"""The cost of weightings, at a size that takes seconds."""

import pytest

from benchmarks import weightings
from benchmarks.logs import Size, write_logs

SMALL = Size(rows=2048, values=200, batch_size=128, steps=4, rounds=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        weightings, "AIMS", {"upgrad": 1 / 1.35, weightings.FAMO: 1 / 1.03, "no": 1}
    )
    write_logs(tmp_path, SMALL)
    return tmp_path


def test_rates_are_told_against_static_weights(folder):
    upgrad, famo, static = weightings.rates(folder, SMALL)
    assert famo.what == "training 5 tasks, famo, between looks"
    assert upgrad.to == static.what == "training 5 tasks, static"
    assert (upgrad.what, upgrad.aim) == ("training 5 tasks, upgrad", 1 / 1.35)
    assert upgrad.ratio > 0


def test_a_peak_names_its_method(folder):
    [figure] = weightings.peak_of(folder, SMALL, "upgrad")
    assert figure.what == "training 5 tasks, upgrad: peak memory"
    assert figure.measured.endswith(" GiB")
