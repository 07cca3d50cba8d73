"""How often each value occurs in the training rows: what a vocabulary is made of."""

import polars as pl

from fulcrum.features.kinds.vocabulary import Buckets
from fulcrum.features.values.text import text

Counts = pl.LazyFrame
"""`values` of a `Vocabulary`, still to be computed: those of all features in one pass."""


def count(value: pl.Expr, dtype: pl.DataType, frame: pl.LazyFrame, min_count: int) -> Counts:
    """The texts of values of type `dtype` that occur `min_count` times; those of whole numbers,
    each of which has one text, are written once they are counted."""
    whole = dtype.is_integer()
    counts = (
        frame.select((value if whole else text(value, dtype)).alias("value"))
        .drop_nulls()
        .group_by("value")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .filter(pl.col("count") >= min_count)
    )
    if whole:
        counts = counts.with_columns(text(pl.col("value"), dtype))
    return counts.sort("count", "value", descending=[True, False])


def fit_lookup(
    value: pl.Expr,
    dtype: pl.DataType,
    frame: pl.LazyFrame,
    min_count: int,
    hash_buckets: int | None,
) -> Counts | Buckets:
    """The lookup of a feature: hashed, or fitted on the training rows in `frame`."""
    if hash_buckets is not None:
        return Buckets(hash_buckets)
    return count(value, dtype, frame, min_count)
