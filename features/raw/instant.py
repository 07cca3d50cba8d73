"""When an event happened, as Int64 microseconds since 1970 in UTC."""

import polars as pl

from fulcrum.features.declared.data import TimeConfig
from fulcrum.features.errors import DataError

_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_LOCAL = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")


def microseconds(time: TimeConfig, dtype: pl.DataType) -> pl.Expr:
    """The time column, of type `dtype`, as Int64 microseconds; null where it holds no time.

    Numbers are counted in `time.unit`. Text is ISO 8601; without a zone it is taken as UTC, as are
    dates and date-times. Raises DataError for other types.
    """
    column = pl.col(time.column)
    if isinstance(dtype, pl.Datetime | pl.Date):
        return column.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))).to_physical()
    if isinstance(dtype, pl.String):
        return _from_text(column).to_physical()
    if dtype.is_float():
        number = column * _PER_UNIT[time.unit]
        return number.round().cast(pl.Int64, strict=False)
    if dtype.is_integer():
        return column.cast(pl.Int64, strict=False) * _PER_UNIT[time.unit]
    raise DataError(
        f"data.time.column: `{time.column}` is {dtype}; expected whole numbers, dates, date-times "
        "or ISO 8601 text"
    )


def _from_text(column: pl.Expr) -> pl.Expr:
    text = column.str.strip_chars().str.replace(" ", "T", literal=True)
    local = [text.str.to_datetime(f, time_unit="us", strict=False) for f in _LOCAL]
    zoned = [
        text.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False)
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
        for f in _ZONED
    ]
    return pl.coalesce(*local, *zoned)
