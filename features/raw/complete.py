"""Rows made complete: side tables joined, derived columns and expressions computed."""

from collections.abc import Mapping

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.lineage import Lineage, Needs
from fulcrum.features.values import sql


def complete(
    rows: pl.LazyFrame, needs: Needs, data: DataConfig, tables: Mapping[str, pl.DataFrame]
) -> pl.LazyFrame:
    """Add everything in `needs` to rows that have its columns; rows keep their order and number."""
    for name, columns in needs.tables.items():
        key = data.tables[name].key
        table = tables[name].lazy().select(key, *columns)
        rows = rows.join(table, on=key, how="left", maintain_order="left")
    for name in needs.derived:
        rows = sql.evaluate(rows, {name: data.derive[name]})
    return sql.evaluate(rows, {sql.value(text): text for text in needs.expressions})


def prune(name: str, table: pl.LazyFrame, needs: Needs, lineage: Lineage) -> pl.DataFrame:
    """The columns of a side table that are needed, by key.

    Raises DataError when the key is not unique. Rows without a key are left out.
    """
    key = lineage.data.tables[name].key
    types, origins = {key: lineage.dtype(key)}, {key: "as in the events"}
    keyed = conform(table, types, f"data.tables.{name}", lineage.data.time, origins)
    frame = keyed.select(key, *needs.tables[name]).filter(pl.col(key).is_not_null()).collect()
    repeats = frame.filter(pl.col(key).is_duplicated())[key]
    if len(repeats):
        raise DataError(
            f"data.tables.{name}: {repeats.n_unique()} values of the key `{key}` occur more than "
            f"once, for example {repeats[0]!r}; expected one row for each"
        )
    return frame.sort(key)
