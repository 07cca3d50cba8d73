"""Which value an expression does not take, for errors of Polars that name neither row nor place."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from fulcrum.features.errors import listed
from fulcrum.features.raw.complete import complete
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.spec import Path as Place
from fulcrum.features.spec import mentions


def misfit(
    rows: pl.LazyFrame,
    places: Iterable[tuple[Place, str]],
    lineage: Lineage,
    tables: Mapping[str, pl.DataFrame],
) -> tuple[str, int] | None:
    """Of the first place whose expression cannot be computed, what is wrong with the first row for
    which it cannot, and that row's number, from 0; None where none fails by
    itself. `places` are as of `features.spec.places`, those of derived columns first.

    A row is sought by halves, so an expression is computed some twenty times.
    """
    for path, name in places:
        text = name[1:] if name.startswith("=") else lineage.data.derive.get(name)
        if text is None:
            continue
        columns = rows.select(*lineage.needs([name]).columns).collect()
        if not _fails(columns, name, lineage, tables):
            continue
        first, end = 0, len(columns)
        while end - first > 1:
            middle = (first + end) // 2
            if _fails(columns[first:middle], name, lineage, tables):
                end = middle
            else:
                first = middle
        if not _fails(columns[first:end], name, lineage, tables):
            return None
        values = _values(columns[first:end], mentions(text), lineage, tables)
        words = listed([f"`{value}` in `{column}`" for column, value in values.items()])
        hint = "; TRY_CAST gives null there" if "cast" in text.lower() or "::" in text else ""
        return f"{'.'.join(map(str, path))}: `{text}` does not fit {words}{hint}", first
    return None


def row_of(files: Mapping[Path, pl.LazyFrame], row: int) -> str:
    """`row 17 of log.csv`, counted from 1 below the header, for a row of all files from 0."""
    for file, rows in files.items():
        count = rows.select(pl.len()).collect().item()
        if row < count:
            return f"row {row + 1:,} of {file}"
        row -= count
    raise IndexError(row)


def _fails(
    columns: pl.DataFrame, name: str, lineage: Lineage, tables: Mapping[str, pl.DataFrame]
) -> bool:
    try:
        _values(columns, [name], lineage, tables)
    except (PolarsError, PanicException):
        return True
    return False


def _values(
    columns: pl.DataFrame,
    names: Iterable[str],
    lineage: Lineage,
    tables: Mapping[str, pl.DataFrame],
) -> dict[str, object]:
    """By name, the value in the first row; all rows are computed."""
    names = list(names)
    frame = complete(columns.lazy(), lineage.needs(names), lineage.data, tables)
    whole = frame.select(names).collect()
    return whole.row(0, named=True) if len(whole) else {}
