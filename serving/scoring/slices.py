"""One file, a bounded number of rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from fulcrum.features.files.file import unreadable

SLICE_ROWS = 65_536
"""Rows in memory at once, as many as a row group of a prepared shard."""


def slices(
    rows: pl.LazyFrame, file: Path, columns: Sequence[str], what: str, distinct: bool = False
) -> Iterator[pl.DataFrame]:
    """The columns of the rows of a file in their order, at least one frame.

    `distinct` drops rows that agree in every column of the file, and loses the order. Raises
    DataError, naming the file, when it cannot be read to its end."""
    rows = (rows.unique() if distinct else rows).select(columns)
    empty = True
    try:
        for part in rows.collect_batches(chunk_size=SLICE_ROWS, maintain_order=True):
            empty = False
            yield part
        if empty:
            yield rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(what, file, error) from error
