"""When an event happened, as Int64 microseconds since 1970 in UTC."""

from datetime import date, timedelta
from typing import Any

import polars as pl

from fulcrum.features.declared.time import TimeConfig, Unit
from fulcrum.features.errors import DataError

NANOSECONDS: dict[Unit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""In one of a unit."""
_DAY = 86_400 * 10**9
_YEARS = 8_000
"""Further from 1970, Polars has no calendar."""
_LOCAL = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")


def microseconds(time: TimeConfig, dtype: pl.DataType) -> pl.Expr:
    """The time column, of type `dtype`, as Int64 microseconds; null where it holds no time, or one
    that falls on no day between `time.earliest` and `time.latest`.

    Numbers are counted in `time.unit`. Text is ISO 8601; without a zone, text, dates and date-times
    are of `time.zone`, and null when its clocks skip or repeat that hour. Raises DataError for
    other types and for numbers without a unit.
    """
    if dtype.is_numeric() and time.unit is None:
        raise DataError(
            f"data.time.unit: `{time.column}` is {dtype}; expected the unit in which it counts "
            f"since 1970: {', '.join(f'`{unit}`' for unit in NANOSECONDS)}"
        )
    counted = count(pl.col(time.column), dtype, time.unit, time.zone)
    if counted is None:
        raise DataError(
            f"data.time: column `{time.column}` is {dtype}; expected whole numbers, Float64, "
            "dates, date-times or ISO 8601 text"
        )
    number, size = counted
    first, last = _bounds(time)
    plausible = number.is_between(-(-first // size), last // size)
    whole = number * (size // 1_000) if size >= 1_000 else number // 1_000
    return pl.when(plausible).then(whole)


def moment(text: str, zone: str, place: str) -> int:
    """Microseconds since 1970 of a time in ISO 8601 that a config has at `place`; without a zone
    it is of `zone`. Raises DataError for what is none."""
    time = TimeConfig(column="at", zone=zone, earliest=date(1700, 1, 1), latest=date(2199, 12, 31))
    at = pl.DataFrame({"at": [text]}).select(microseconds(time, pl.String())).item()
    if at is None:
        raise DataError(f"{place}: {text!r} is no time; expected ISO 8601")
    return int(at)


def count(
    column: pl.Expr, dtype: pl.DataType, unit: Unit | None, zone: str
) -> tuple[pl.Expr, int] | None:
    """A time as an Int64 number since 1970 in UTC, and the nanoseconds of one; the number is null
    where the value is no time. None for a type that holds none: in Float32, neighbours of our days
    are two minutes apart even in seconds."""
    if isinstance(dtype, pl.Null):
        return column.cast(pl.Int64), NANOSECONDS["us"]
    if isinstance(dtype, pl.Date):
        if zone == "UTC":
            return column.to_physical().cast(pl.Int64), _DAY
        return count(column.cast(pl.Datetime("ms")), pl.Datetime("ms"), unit, zone)
    if isinstance(dtype, pl.Datetime):
        size = NANOSECONDS[dtype.time_unit]
        if dtype.time_zone is None and zone != "UTC":
            column = _from_wall_clock(column, zone, size)
        return column.to_physical(), size
    if isinstance(dtype, pl.String):
        return _from_text(column, zone).to_physical(), NANOSECONDS["us"]
    if unit is not None and dtype.is_integer():
        return column.cast(pl.Int64, strict=False), NANOSECONDS[unit]
    if unit is not None and dtype.is_float() and dtype != pl.Float32:
        number = column.cast(pl.Float64) * (NANOSECONDS[unit] / NANOSECONDS["us"])
        return number.round().cast(pl.Int64, strict=False), NANOSECONDS["us"]
    return None


def check_times(
    rows: pl.LazyFrame, instant: str, time: TimeConfig, dtype: pl.DataType, what: str
) -> None:
    """Raises DataError for a value of the time column that is no plausible time, with the unit that
    would fit; `instant` is the column of its microseconds."""
    column = pl.col(time.column)
    value = column.fill_nan(None) if dtype.is_float() else column
    wrong = rows.filter(value.is_not_null() & pl.col(instant).is_null())
    for example in wrong.select(shown(column, dtype)).head(1).collect().to_series():
        if isinstance(dtype, pl.String) and time.unit is not None:
            # One word makes text of a column of numbers: it is what is wrong, not they.
            words = wrong.filter(column.cast(pl.Float64, strict=False).is_null())
            example = next(iter(words.select(column).head(1).collect().to_series()), example)
        raise DataError(f"{what}: column `{time.column}` holds {explain(example, time)}")


def explain(value: Any, time: TimeConfig) -> str:
    """What is wrong with a value of which `microseconds` makes null."""
    first, last = time.days
    days = f"{first} to {last}"
    if isinstance(value, int | float):
        fits = [unit for unit in NANOSECONDS if _fits(value, unit, time)]
        hint = f"; in `{fits[0]}` it would be {_day(value, fits[0])}" if fits else ""
        return (
            f"{value!r}, which in `{time.unit}` since 1970 is no time from {days}{hint} "
            "(`data.time` declares unit, earliest and latest)"
        )
    if is_no_hour(value, time.zone):
        return f"{value!r}, {no_hour(time.zone)}"
    if pl.select(_from_text(pl.lit(value), "UTC").is_not_null()).item():
        return f"{value!r}; expected a time from {days} (`data.time` declares earliest and latest)"
    how = "`data.derive` makes one of other text, for example by STRPTIME(..., '%d.%m.%Y %H:%M')"
    if time.unit is not None:
        days += f", or numbers in `{time.unit}`"
        how = (
            f"`types: {{{time.column}: Int64}}` reads numbers, `csv: {{null_values: [...]}}` names "
            "words for none"
        )
    return f"{value!r}; expected a time in ISO 8601 from {days} ({how})"


def is_no_hour(value: str, zone: str) -> bool:
    """Whether text in ISO 8601 names an hour that the clocks of a zone skip or repeat."""
    utc, there = (_from_text(pl.lit(value), name) for name in ("UTC", zone))
    in_calendar = _in_calendar(utc, NANOSECONDS["us"]).is_not_null()
    return bool(pl.select(in_calendar & there.is_null()).item())


def no_hour(zone: str) -> str:
    """What is wrong with such a time."""
    return f"an hour that {zone} clocks skip or repeat; log such times in UTC"


def shown(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """As a message shows it: a time is text, or a number where the calendar has none."""
    if not isinstance(dtype, pl.Date | pl.Datetime):
        return column.dt.to_string("iso") if dtype.is_temporal() else column
    size = _DAY if isinstance(dtype, pl.Date) else NANOSECONDS[dtype.time_unit]
    text = _in_calendar(column, size).dt.to_string("iso")
    return text.fill_null(column.to_physical().cast(pl.String))


def _fits(value: float, unit: Unit, time: TimeConfig) -> bool:
    first, last = _bounds(time)
    return first <= value * NANOSECONDS[unit] <= last


def _day(value: float, unit: Unit) -> date:
    return date(1970, 1, 1) + timedelta(days=value * NANOSECONDS[unit] // _DAY)


def _bounds(time: TimeConfig) -> tuple[int, int]:
    """First and last plausible nanosecond since 1970."""
    first, last = ((day - date(1970, 1, 1)).days for day in time.days)
    return first * _DAY, (last + 1) * _DAY - 1


def _from_text(column: pl.Expr, zone: str) -> pl.Expr:
    text = column.str.strip_chars().str.replace(" ", "T", literal=True)
    local = [text.str.to_datetime(f, time_unit="us", strict=False) for f in _LOCAL]
    if zone != "UTC":
        local = [_from_wall_clock(moment, zone, NANOSECONDS["us"]) for moment in local]
    zoned = [
        text.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False)
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
        for f in _ZONED
    ]
    return pl.coalesce(*local, *zoned)


def _from_wall_clock(moment: pl.Expr, zone: str, size: int) -> pl.Expr:
    """A date-time in UTC, without a zone, of one that a clock in `zone` shows."""
    there = _in_calendar(moment, size).dt.replace_time_zone(
        zone, ambiguous="null", non_existent="null"
    )
    return there.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _in_calendar(moment: pl.Expr, size: int) -> pl.Expr:
    limit = _YEARS * 365 * _DAY // size
    return pl.when(moment.to_physical().is_between(-limit, limit)).then(moment)
