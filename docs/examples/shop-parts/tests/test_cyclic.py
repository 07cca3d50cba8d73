"""The contract of a kind of feature, and that a circle closes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, learn


class TestCyclic(KindContract):
    name = "play"

    def document(self) -> dict[str, Any]:
        return {"kind": "cyclic", "period": 7}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        angles = [None if self.absent(row, log) else math.tau * row["play"] / 7 for row in log]
        return {
            "play.sin": [0.0 if angle is None else math.sin(angle) for angle in angles],
            "play.cos": [0.0 if angle is None else math.cos(angle) for angle in angles],
        }

    def absent(self, row: Event, log: Log) -> bool:
        return row["play"] is None or not math.isfinite(row["play"])


def test_midnight_is_between_23_and_1() -> None:
    hours = pl.DataFrame({"hour": [23, 24, 0, 1, 12]})
    encoded = encode(hours, learn(hours, {"hour": {"kind": "cyclic", "period": 24}}))
    before, last, first, after, noon = encoded.select("hour.sin", "hour.cos").rows()
    assert last == pytest.approx(first, abs=1e-6)
    assert math.dist(before, first) == pytest.approx(math.dist(first, after), abs=1e-6)
    assert math.dist(first, noon) == pytest.approx(2)


def test_text_is_no_number() -> None:
    hours = pl.DataFrame({"hour": ["noon"]})
    state = learn(hours, {"hour": {"kind": "cyclic", "period": 24}})
    with pytest.raises(DataError, match="`hour` is String; expected numbers"):
        encode(hours, state)
