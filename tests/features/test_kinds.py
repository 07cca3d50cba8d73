import logging
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.values.hashing import hash_series
from tests.features.specs import encode, ids, learn

words = st.none() | st.sampled_from(["a", "b", "c", "", "d e"])
columns = st.lists(words, min_size=1, max_size=30)
numbers = st.none() | st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, -math.inf])


def text(values: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"f": pl.Series(values, dtype=pl.String)})


@given(columns, columns, st.integers(1, 3))
def test_a_vocabulary_knows_what_training_saw_often_enough(
    train: list[str | None], rows: list[str | None], min_count: int
) -> None:
    feature = {"kind": "categorical", "min_count": min_count}
    counts = {value: train.count(value) for value in train if value is not None}
    known = [value for value, count in counts.items() if count >= min_count]
    known.sort(key=lambda value: (-counts[value], value))
    wanted = [
        NULL if value is None else 2 + known.index(value) if value in known else UNKNOWN
        for value in rows
    ]
    assert ids(text(train), text(rows), feature) == wanted


@pytest.mark.parametrize(
    "other",
    [
        pl.Series([42, 7, None]),
        pl.Series([42.0, 7.0, None]),
        pl.Series(["42", "7", None]),
        pl.Series([42, 7, None], dtype=pl.UInt8),
    ],
)
def test_an_id_is_the_same_whatever_its_type(other: pl.Series) -> None:
    train = pl.DataFrame({"f": pl.Series([42, 42, 7, None])})
    assert ids(train, pl.DataFrame({"f": other}), {"kind": "categorical"}) == [2, 3, NULL]


def test_booleans_are_ids() -> None:
    train = pl.DataFrame({"f": [True, True, False]})
    assert ids(train, train, {"kind": "categorical"}) == [2, 2, 3]


def test_a_float_that_training_saw_is_text_without_fraction() -> None:
    train = pl.DataFrame({"f": [1.5, 2.0, 2.0, math.nan]})
    state = learn(train, {"f": {"kind": "categorical"}})
    assert state.lookups["f"].values["value"].to_list() == ["2", "1.5"]
    assert encode(train, state)["f"].to_list() == [3, 2, 2, NULL]


@given(columns, st.integers(1, 7))
def test_hashing_knows_every_value(rows: list[str | None], buckets: int) -> None:
    feature = {"kind": "categorical", "hash_buckets": buckets}
    hashes = hash_series(pl.Series(rows, dtype=pl.String)).to_list()
    wanted = [NULL if h is None else 2 + h % buckets for h in hashes]
    assert ids(text(["a"]), text(rows), feature) == wanted


def test_sharing_uses_the_owner_s_ids() -> None:
    train = pl.DataFrame({"item": ["a", "b", "b"], "last": ["c", "a", None]})
    features = {"item": {"kind": "categorical"}, "last": {"kind": "categorical", "share": "item"}}
    state = learn(train, features)
    assert encode(train, state)["last"].to_list() == [UNKNOWN, 3, NULL]
    assert [table.name for table in state.layout.tables] == ["item"]
    assert {source.table for source in state.layout.ids} == {"item"}


@pytest.mark.parametrize("values", [[None, None], ["a", "a"]])
def test_a_vocabulary_of_none_or_one_works_with_a_warning(
    values: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert ids(text(values), text(["a", "z", None]), {"kind": "categorical"})[2] == NULL
    assert "feature f" in caplog.text


@pytest.mark.parametrize(
    ("values", "feature", "wanted"),
    [
        (["a,b", "b", "", None, " b , z ,,"], {"separator": ","}, [[3, 2], [2], [], [], [2, 4]]),
        ([["a", "b"], ["b"], [], None, ["b", None, "z"]], {}, [[3, 2], [2], [], [], [2, 4]]),
        ([[1, 2], [2], None], {}, [[3, 2], [2], []]),
        (["b|a|b", "b"], {"separator": "|", "max_length": 2}, [[2, 3], [2]]),
    ],
)
def test_multi_reads_lists_and_separated_text(
    values: list[Any], feature: dict[str, Any], wanted: list[list[int]]
) -> None:
    train = pl.DataFrame({"f": values})
    assert ids(train, train, {"kind": "multi"} | feature) == wanted


def test_multi_maps_the_unseen_and_hashes() -> None:
    train, rows = pl.DataFrame({"f": [["a"]]}), pl.DataFrame({"f": [["q", "a"], [None, "a"]]})
    assert ids(train, rows, {"kind": "multi"}) == [[UNKNOWN, 2], [2]]
    hashed = ids(train, rows, {"kind": "multi", "hash_buckets": 5})
    assert [len(row) for row in hashed] == [2, 1]
    assert hashed[0][1] == hashed[1][0] >= 2


@pytest.mark.parametrize(
    ("values", "feature"), [(["a,b"], {}), ([["a"]], {"separator": ","}), ([1], {})]
)
def test_multi_refuses_other_types(values: list[Any], feature: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"features\.f: column `f` is"):
        learn(pl.DataFrame({"f": values}), {"f": {"kind": "multi"} | feature})


def test_a_cross_is_null_where_a_part_is_and_never_mixes_parts_up() -> None:
    train = pl.DataFrame({"a": ["x", "x", "xy", None], "b": ["yz", "yz", "z", "z"]})
    state = learn(train, {"f": {"kind": "cross", "columns": ["a", "b"]}})
    assert encode(train, state)["f"].to_list() == [2, 2, 3, NULL]
    unseen = pl.DataFrame({"a": ["x"], "b": ["z"]})
    assert encode(unseen, state)["f"].to_list() == [UNKNOWN]


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


def test_a_constant_number_works_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    frame = pl.DataFrame({"f": [3, 3]})
    with caplog.at_level(logging.WARNING):
        assert ids(frame, pl.DataFrame({"f": [3, 4]}), {"kind": "numeric"}) == [0.0, 1.0]
    assert "feature f has one value, 3.0" in caplog.text


def test_text_is_no_number() -> None:
    with pytest.raises(DataError, match=r"features\.f: column `f` is String; expected numbers"):
        learn(text(["1"]), {"f": {"kind": "numeric"}})


def test_a_number_too_large_for_float32_stays_finite() -> None:
    rows = pl.DataFrame({"f": [1e300, -1e300]})
    encoded = ids(pl.DataFrame({"f": [0.0, 1.0]}), rows, {"kind": "numeric", "transform": "raw"})
    assert encoded == [float(np.finfo(np.float32).max), -float(np.finfo(np.float32).max)]


def test_an_expression_is_encoded_as_a_number_or_as_ids() -> None:
    train = pl.DataFrame({"x": [1, 2, 3, 4], "kind": ["a", "b", "a", None]})
    state = learn(
        train,
        {
            "half": {"kind": "expression", "sql": "x // 2", "encode": {"kind": "categorical"}},
            "mean": {
                "kind": "expression",
                "sql": "x * 2.0",
                "encode": {"transform": "raw", "kind": "numeric"},
            },
            "both": {
                "kind": "expression",
                "sql": "CONCAT(kind, CAST(x AS VARCHAR))",
                "encode": {"kind": "categorical"},
            },
        },
    )
    encoded = encode(train, state)
    assert encoded["half"].to_list() == [3, 2, 2, 4]
    assert encoded["mean"].to_list() == [2.0, 4.0, 6.0, 8.0]
    assert len(state.lookups["both"].values) >= 3
