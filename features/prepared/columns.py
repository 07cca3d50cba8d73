"""Whether every column that a config names is there, and is what the config takes it for."""

from collections.abc import Iterator, Sequence
from itertools import product

import polars as pl

from fulcrum.features.errors import DataError, nearest
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.spec import FeatureSpec, Problem, places
from fulcrum.features.transform.state import past_names, row_names, schema_of
from fulcrum.features.values.schema import is_storable
from fulcrum.features.values.text import is_id

_EXPECTED = {"where": "a condition", "when": "a condition", "weight": "numbers"}
"""Of expressions, by the last word of their place."""
_ONE_ID = ("group", "session", "arms", "split")
"""Entries of `data` that name a column of ids."""


def check_columns(spec: FeatureSpec, lineage: Lineage, frames: Sequence[pl.LazyFrame]) -> None:
    """Raises DataError with every place of the config that names a column which is not there, or
    is not what it should be; `frames` hold examples."""
    for name, table in spec.data.tables.items():
        if table.key not in lineage.tables[name]:
            hint = nearest(table.key, lineage.tables[name])
            raise DataError(f"data.tables.{name}.key: it has no column `{table.key}`{hint}")
    faults: dict[str, Problem] = {}
    for path, name in places(spec):
        try:
            lineage.dtype(name)
        except DataError as error:
            faults.setdefault(str(error), Problem(path, str(error)))
    for problems in (_misfits(spec, lineage, frames), _uncarried(spec, lineage)):
        if not faults:
            faults = {str(problem): problem for problem in problems}
    if faults:
        raise DataError("\n".join(map(str, faults.values())))


def _misfits(
    spec: FeatureSpec, lineage: Lineage, frames: Sequence[pl.LazyFrame]
) -> Iterator[Problem]:
    """Columns that are not what they are declared to be."""
    for name, encoder in spec.encoders.items():
        try:
            encoder.missing(name, schema_of(name, spec, lineage))
        except DataError as error:
            message = str(error).removeprefix(f"features.{name}: ")
            columns = [r.text for r in spec.features[name].reads(name, spec.features) if not r.id]
            yield Problem(("features", name), message + _word(columns, frames))
    for path, name in places(spec):
        one = path[1] in _ONE_ID if path[0] == "data" else path[2:] == ("key",)
        if one and not is_id(lineage.dtype(name)):
            yield Problem(path, f"column `{name}` is {lineage.dtype(name)}; expected ids")
        dtype = lineage.dtype(name)
        expected = _EXPECTED.get(str(path[-1])) if name.startswith("=") else None
        if expected and not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
            yield Problem(path, f"`{name[1:]}` is {dtype}; expected {expected}")


def _word(columns: Sequence[str], frames: Sequence[pl.LazyFrame]) -> str:
    """`; it holds 'n/a'`, of the first column of text that holds what is no number."""
    for frame, column in product(frames, columns):
        if frame.collect_schema().get(column) == pl.String():
            value = pl.col(column).drop_nulls()
            words = value.filter(value.cast(pl.Float64, strict=False).is_null())
            for word in frame.select(words.first()).collect().to_series().drop_nulls():
                return f"; it holds {word!r}"
    return ""


def _uncarried(spec: FeatureSpec, lineage: Lineage) -> Iterator[Problem]:
    """Columns that a row to be scored, or an event to be remembered, cannot carry."""
    carried = {*row_names(spec), *past_names(spec), *spec.data.keys}
    for path, name in places(spec):
        for column, dtype in lineage.needs([name] if name in carried else []).columns.items():
            if not is_storable(dtype):
                message = f"column `{column}` is {dtype}, which a row to be scored cannot carry"
                yield Problem(path, f"{message}; expected numbers, text, times or lists of them")
