import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.values.hashing import hash_series
from fulcrum.testing import plain
from fulcrum.testing.kinds import KindContract, Log
from fulcrum.testing.logs import Event
from fulcrum.testing.specs import encode, ids, learn


class TestCategorical(KindContract):
    name = "user"

    def document(self) -> dict[str, Any]:
        return {"kind": "categorical"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        return {"user": plain.ids([row["user"] for row in train], [row["user"] for row in log])}

    def absent(self, row: Event, log: Log) -> bool:
        return row["user"] is None


words = st.none() | st.sampled_from(["a", "b", "c", "", "d e"])
columns = st.lists(words, min_size=1, max_size=30)


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


@given(
    st.lists(st.none() | st.integers(-120, 120) | st.sampled_from([2**20, 10**6, -(10**6)])),
    st.sampled_from([0, 10**16, 2**62, -(10**17), -(2**62)]),
    st.integers(1, 2),
)
def test_whole_numbers_get_the_vocabulary_of_their_texts(
    near: list[int | None], far: int, min_count: int
) -> None:
    """Numbers are counted as they are, and ties are in the order of text: -1, -10, 10, 9."""
    values = [None if value is None else far + value for value in near]
    feature = {"kind": "categorical", "min_count": min_count}
    numbers = pl.DataFrame({"f": pl.Series(values, dtype=pl.Int64)})
    texts = text([None if value is None else str(value) for value in values])
    one, other = (learn(rows, {"f": feature}) for rows in (numbers, texts))
    assert_frame_equal(one.lookups["f"].values, other.lookups["f"].values)


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


NUMBERS = st.integers(-3, 12) | st.sampled_from([-(2**63), 2**63 - 1, 2**40, 10**5])


@given(
    st.lists(st.none() | NUMBERS | st.sampled_from(["007", "a", "", "+1", "-0"]), min_size=1),
    st.lists(st.none() | NUMBERS, min_size=1),
    st.sampled_from([pl.Int64(), pl.Int32(), pl.Int8(), pl.UInt32(), pl.UInt64()]),
)
def test_whole_numbers_are_looked_up_as_their_texts(
    train: list[Any], rows: list[int | None], dtype: pl.DataType
) -> None:
    words = text([None if value is None else str(value) for value in train])
    lookup = learn(words, {"f": {"kind": "categorical"}}).lookups["f"]
    asked = pl.Series("f", rows, pl.Int64).cast(dtype, strict=False).to_frame()
    by_number = lookup.by_number(dtype)
    known = [value for value in train if isinstance(value, int)]
    near = bool(known) and max(known) - min(known) < 8 * 1024
    assert (by_number is not None) == (near and dtype != pl.UInt64)
    if by_number is not None:
        by_text = asked.select(lookup.ids(pl.col("f").cast(pl.String))).to_series()
        assert_series_equal(by_number(asked["f"]), by_text, check_names=False)


def test_sharing_uses_the_owner_s_ids() -> None:
    train = pl.DataFrame({"item": ["a", "b", "b"], "last": ["c", "a", None]})
    features = {"item": {"kind": "categorical"}, "last": {"kind": "categorical", "share": "item"}}
    state = learn(train, features)
    assert encode(train, state)["last"].to_list() == [UNKNOWN, 3, NULL]
    assert [table.name for table in state.layout.tables] == ["item"]
    assert {source.table for source in state.layout.ids} == {"item"}


@pytest.mark.parametrize("values", [[None, None], ["a", "a"]])
def test_a_vocabulary_of_none_or_one_works(values: list[Any]) -> None:
    assert ids(text(values), text(["a", "z", None]), {"kind": "categorical"})[2] == NULL
