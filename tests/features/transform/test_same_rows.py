"""A value keeps its row's number or gets another one; what the row stands for is the value."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.kinds.vocabulary import Buckets, Lookup, Vocabulary
from fulcrum.features.layout import NULL, UNKNOWN, Layout, TableSpec
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.same_rows import same_rows
from fulcrum.features.transform.state import FeatureState

VALUES = st.lists(st.text(max_size=3), unique=True, max_size=20)


def vocabulary(values: list[str]) -> Vocabulary:
    counts = pl.Series(range(len(values), 0, -1), dtype=pl.Int64)
    return Vocabulary(pl.DataFrame({"value": pl.Series(values, dtype=pl.String), "count": counts}))


def state(lookup: Lookup | None, rows: int = 0) -> FeatureState:
    names = ("row_columns", "past_columns", "tables", "bases", "learned")
    parts: dict[str, Any] = {name: {} for name in names}
    return FeatureState(
        FeatureSpec(data=DataConfig(events="log.parquet"), features={}, tasks={}),
        Layout(tables=(TableSpec(name="t", rows=lookup.rows if lookup else rows),), tasks=()),
        lookups={"t": lookup} if lookup else {},
        fingerprint="",
        **parts,
    )


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_a_pair_of_rows_is_of_one_value_and_no_value_that_both_know_is_left_out(
    before: list[str], now: list[str]
) -> None:
    old, new = vocabulary(before), vocabulary(now)
    rows = same_rows(state(old), state(new), "t")
    known = [None, *(value for value in now if value in before)]
    by_value = pl.DataFrame({"w": pl.Series(known, dtype=pl.String)})
    for vocabulary_, numbers in ((old, rows.old), (new, rows.new)):
        ids = by_value.select(vocabulary_.ids(pl.col("w"))).to_series().to_list()
        assert [*ids[:1], UNKNOWN, *ids[1:]] == numbers.tolist()
    assert rows.values == len(known) - 1


@pytest.mark.parametrize(
    ("before", "now", "values"),
    [
        (state(Buckets(4)), state(Buckets(4)), 4),
        (state(Buckets(4)), state(Buckets(5)), 0),
        (state(Buckets(2)), state(vocabulary(["a", "b"])), 0),
        (state(None, 9), state(None, 9), 7),
        (state(None, 9), state(None, 8), 0),
    ],
)
def test_rows_by_number_are_the_same_where_there_are_as_many(
    before: FeatureState, now: FeatureState, values: int
) -> None:
    rows = same_rows(before, now, "t")
    assert rows.values == values
    assert rows.old.tolist() == rows.new.tolist() == list(np.arange(2 + values))
    assert rows.new[:2].tolist() == [NULL, UNKNOWN]
