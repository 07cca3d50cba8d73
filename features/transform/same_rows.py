"""Which rows of an embedding table stand for the same in two feature states.

A vocabulary is learned anew from each training split, the most frequent value first, so one value
has another row every day. The value itself is what stays.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from fulcrum.features.kinds.vocabulary import Vocabulary
from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.transform.state import FeatureState

COMMON = (NULL, UNKNOWN)
"""Rows that stand for the same in all tables."""


class SameRows(NamedTuple):
    """Rows of one table, side by side: `old[n]` stands for what `new[n]` does."""

    old: np.ndarray
    """`(n,)` int64."""
    new: np.ndarray
    """`(n,)` int64, rising."""

    @property
    def values(self) -> int:
        """How many of them stand for a value, and not for null or unknown."""
        return len(self.new) - len(COMMON)


def same_rows(old: FeatureState, new: FeatureState, table: str) -> SameRows:
    """Those of a table that both states have.

    Of two vocabularies they are those of the values that both know. Other tables have rows by
    number (buckets of a hash or of a number, ages), which are the same where there are as many.
    Null and unknown are always among them.
    """
    before, now = old.lookups.get(table), new.lookups.get(table)
    if isinstance(before, Vocabulary) and isinstance(now, Vocabulary):
        return _by_value(before, now)
    sizes = _rows(old, table), _rows(new, table)
    same = type(before) is type(now) and sizes[0] == sizes[1]
    rows = np.arange(sizes[1] if same else len(COMMON), dtype=np.int64)
    return SameRows(rows, rows)


def _by_value(before: Vocabulary, now: Vocabulary) -> SameRows:
    places = [
        vocabulary.values.select("value").with_row_index(name, offset=len(COMMON))
        for name, vocabulary in (("old", before), ("new", now))
    ]
    both = places[1].join(places[0], on="value").sort("new").select(pl.col("old", "new").cast(int))
    common = np.array(COMMON, np.int64)
    return SameRows(*(np.concatenate([common, both[name].to_numpy()]) for name in ("old", "new")))


def _rows(state: FeatureState, table: str) -> int:
    return next(spec.rows for spec in state.layout.tables if spec.name == table)
