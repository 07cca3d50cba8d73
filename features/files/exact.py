"""Ids to the last digit: which type holds the values of a column without loss."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import polars as pl

from fulcrum.features.files.reads import Reads

NUMBERS = frozenset({pl.Int64(), pl.Int128(), pl.Float64()})
"""What text may look like that is a number."""
_WHOLE = r"^(0|-?[1-9][0-9]*)$"
_PLAIN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_PADDED = r"^[+-]?0[0-9]"
_EXACT = {"Float32": 2**24, "Float64": 2**53}
"""From here on, neighbouring whole numbers are one and the same float."""


@dataclass(frozen=True)
class Facts:
    """What is true of all values of a column, nulls aside."""

    empty: bool
    """There are none."""
    whole: bool
    """They are whole numbers of 64 bits, written as one writes them: 7, not +7, 007 or 7.0."""
    point_zero: bool
    """They are, once a final `.0` is cut off, which pandas writes where a column has holes."""
    plain: bool
    """They are numbers without exponent and padding, whole ones of 64 bits."""
    padded: bool
    """One of them at least begins with a zero that would vanish."""
    rounded: bool
    """One of them at least is a float that may stand for several whole numbers."""
    boolean: bool
    """They are `true` and `false`, spelled so: True and TRUE are other ids."""
    odd: str | None
    """The first that is not whole."""
    word: str | None
    """The first that is no number at all."""


def facts(name: str, dtype: pl.DataType) -> list[pl.Expr]:
    """One expression for each of `Facts`, over a column of text, decimals, floats or Int128."""
    column = pl.col(name)
    no = pl.lit(False)
    if isinstance(dtype, pl.String):
        values = column.drop_nulls()
        cut = values.str.strip_suffix(".0")
        whole, zero = _whole(values), _whole(cut)
        plain = values.str.contains(_PLAIN) & (
            values.str.contains(".", literal=True) | _is_int64(values)
        )
        word = values.filter(values.cast(pl.Float64, strict=False).is_null()).first()
        padded = values.str.contains(_PADDED).any()
        boolean = values.is_in(["true", "false"]).all()
        odd = values.filter(~zero).first()
        parts = [whole.all(), zero.all(), plain.all(), padded, no, boolean, odd]
    else:
        values = column.drop_nulls()
        if dtype.is_float():
            values = values.filter(~values.is_nan())
            rounded = values.is_finite() & (values.abs() >= _EXACT[str(dtype)])
            whole = (values == values.floor()) & values.is_finite()
        else:
            rounded = values.is_null()
            whole = _is_int64(values) & (values == values.floor())
        odd = values.filter(~whole | rounded).first().cast(pl.String)
        parts = [whole.all(), whole.all(), no, no, rounded.any(), no, odd]
        word = pl.lit(None, pl.String)
    named = zip(fields(Facts), [values.len() == 0, *parts, word], strict=True)
    return [part.alias(f"{name}\0{field.name}") for field, part in named]


def read_facts(row: dict[str, object], name: str) -> Facts:
    """What the expressions of `facts` gave."""
    return Facts(**{f.name: row[f"{name}\0{f.name}"] for f in fields(Facts)})  # type: ignore[arg-type]


def text_type(
    name: str, reads: Reads, dtypes: Iterable[pl.DataType], parts: Sequence[Facts]
) -> pl.DataType:
    """The type of a column of text that looks like numbers of `dtypes`."""
    kinds = set(dtypes)
    if parts and all(part.whole for part in parts):
        return pl.Int64()
    if name in reads.ids:
        if all(part.point_zero for part in parts):
            return pl.Int64()
        plain = all(part.plain for part in parts)
        return pl.Float64() if plain and not reads.only_id(name) else pl.String()
    if name not in reads.numbers and pl.Int128() in kinds:
        return pl.String()
    if name in reads.mentions and any(part.padded for part in parts):
        return pl.String()
    return pl.Int64() if kinds == {pl.Int64()} else pl.Float64()


def number_type(name: str, reads: Reads, dtype: pl.DataType, parts: Sequence[Facts]) -> pl.DataType:
    """The type of a column of decimals or Int128, or of floats that are ids."""
    fraction = dtype.is_float() or (isinstance(dtype, pl.Decimal) and dtype.scale > 0)
    if fraction and not reads.only_id(name):
        return pl.Float64()
    if all(part.whole or part.rounded for part in parts):
        return pl.Int64()
    exact = fraction or name in reads.ids | reads.mentions
    return pl.String() if exact else pl.Float64()


def _whole(values: pl.Expr) -> pl.Expr:
    return values.str.contains(_WHOLE) & _is_int64(values)


def _is_int64(values: pl.Expr) -> pl.Expr:
    return values.cast(pl.Int64, strict=False).is_not_null()
