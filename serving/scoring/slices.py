"""One file, a bounded number of rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.raw.source import scan

SLICE_ROWS = 65_536
"""Rows in memory at once, as many as a row group of a prepared shard."""


def slices(
    file: Path, columns: Sequence[str], what: str, distinct: bool = False
) -> Iterator[pl.DataFrame]:
    """The columns of a Parquet or CSV file in the order of its rows, at least one frame.

    `distinct` drops rows that agree in every column of the file, and loses the order. Raises
    DataError, naming the file, when it cannot be read to its end."""
    try:
        if _rows(file) == 0:
            yield pl.DataFrame(schema=_schema(file)).select(columns)
            return
        frame = scan(str(file), what).frame
        frame = (frame.unique() if distinct else frame).select(columns)
        yield from frame.collect_batches(chunk_size=SLICE_ROWS, maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise DataError(f"{what}: {file} cannot be read: {first_line}") from error


def _open(file: Path) -> pl.LazyFrame:
    return (
        pl.scan_csv(file, glob=False)
        if file.suffix == ".csv"
        else pl.scan_parquet(file, glob=False)
    )


def _rows(file: Path) -> int:
    return int(_open(file).head(1).select(pl.len()).collect().item())


def _schema(file: Path) -> pl.Schema:
    return _open(file).collect_schema()
