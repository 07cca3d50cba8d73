import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.features.layout import NULL
from fulcrum.testing import plain
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, ids, learn


class TestNumeric(KindContract):
    name = "play"

    def document(self) -> dict[str, Any]:
        return {"kind": "numeric"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        return plain.dense("play", [row["play"] for row in train], [row["play"] for row in log])

    def absent(self, row: Event, log: Log) -> bool:
        return row["play"] is None or not math.isfinite(row["play"])


numbers = st.none() | st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, -math.inf])
LARGEST = float(np.finfo(np.float32).max)


def _finite(values: list[float | None]) -> np.ndarray:
    return np.array([v for v in values if v is not None and math.isfinite(v)])


def _change(values: Any, transform: str) -> Any:
    return np.sign(values) * np.log1p(np.abs(values)) if transform == "log1p" else values


@given(
    st.lists(numbers, min_size=1, max_size=30),
    st.lists(numbers, max_size=10),
    st.sampled_from(["standardise", "log1p", "raw"]),
)
def test_a_dense_number_is_scaled_by_the_training_split(
    train: list[float | None], rows: list[float | None], transform: str
) -> None:
    frame = pl.DataFrame({"f": pl.Series(train, dtype=pl.Float64)})
    state = learn(frame, {"f": {"kind": "numeric", "transform": transform}})
    encoded = encode(pl.DataFrame({"f": pl.Series(rows, dtype=pl.Float64)}), state)
    changed = _change(_finite(train), transform)
    mean, std = (
        (0.0, 1.0) if transform == "raw" or not len(changed) else (changed.mean(), changed.std())
    )
    for value, got in zip(rows, encoded["f"], strict=True):
        gone = value is None or not math.isfinite(value)
        wanted = 0.0 if gone else (_change(np.float64(value), transform) - mean) / (std or 1.0)
        if std > 1e-6 * abs(mean):
            wanted = np.clip(wanted, -LARGEST, LARGEST)
            assert got == pytest.approx(wanted, rel=1e-4, abs=1e-4)
        assert math.isfinite(got)
    some_null = len(_finite(train)) < len(train)
    assert ("f.null" in encoded.columns) == some_null
    if some_null:
        flags = [float(v is None or not math.isfinite(v)) for v in rows]
        assert encoded["f.null"].to_list() == flags


def test_nulls_and_what_is_not_finite_are_counted() -> None:
    frame = pl.DataFrame({"f": [1.0, None, math.nan, math.inf, 3.0]})
    learned = learn(frame, {"f": {"kind": "numeric"}}).learned["f"]
    assert (learned.nulls, learned.not_finite) == (3, 2)
    assert (learned.mean, learned.std) == (2.0, 1.0)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(2, 8))
def test_quantile_buckets_rise_with_the_value_and_hold_like_shares(
    train: list[int], buckets: int
) -> None:
    frame = pl.DataFrame({"f": train})
    state = learn(frame, {"f": {"kind": "numeric", "transform": "quantile", "buckets": buckets}})
    found = encode(frame, state)["f"].to_list()
    pairs = sorted(zip(train, found, strict=True))
    assert [b for _, b in pairs] == sorted(found)
    rows = state.layout.tables[0].rows
    assert all(2 <= bucket < rows <= 2 + buckets for bucket in found)
    assert encode(pl.DataFrame({"f": [None]}), state)["f"].to_list() == [NULL]
    if len(set(train)) == len(train) and len(train) % buckets == 0:
        assert {found.count(b) for b in set(found)} == {len(train) // buckets}


@pytest.mark.parametrize("transform", ["standardise", "quantile", "raw"])
def test_a_column_of_nulls_works_with_a_warning(
    transform: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pl.DataFrame({"f": pl.Series([None, None], dtype=pl.Null)})
    with caplog.at_level(logging.WARNING):
        assert ids(frame, frame, {"kind": "numeric", "transform": transform}) == [0, 0]
    assert "feature f has no number in the training split" in caplog.text


def test_a_constant_number_works() -> None:
    frame = pl.DataFrame({"f": [3, 3]})
    assert ids(frame, pl.DataFrame({"f": [3, 4]}), {"kind": "numeric"}) == [0.0, 1.0]


def test_text_is_no_number() -> None:
    with pytest.raises(DataError, match=r"features\.f: column `f` is String; expected numbers"):
        learn(pl.DataFrame({"f": ["1"]}), {"f": {"kind": "numeric"}})


def test_a_number_too_large_for_float32_stays_finite() -> None:
    rows = pl.DataFrame({"f": [1e300, -1e300]})
    encoded = ids(pl.DataFrame({"f": [0.0, 1.0]}), rows, {"kind": "numeric", "transform": "raw"})
    assert encoded == [float(np.finfo(np.float32).max), -float(np.finfo(np.float32).max)]
