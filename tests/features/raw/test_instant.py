import datetime
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fulcrum.features.declared.time import TimeConfig, Unit
from fulcrum.features.errors import DataError
from fulcrum.features.raw.instant import NANOSECONDS, check_times, microseconds

DAY = 86_400_000_000
APRIL_8 = 19_090 * DAY  # 2022-04-08


HOUR = DAY // 24
SECOND = 1_000_000


def times(values: pl.Series, unit: str | None = "ms", **settings: object) -> list[int | None]:
    config = TimeConfig.model_validate(
        {"column": "t", "unit": unit, "earliest": "1970-01-01", "latest": "2199-12-31"} | settings
    )
    return (
        pl.DataFrame({"t": values}).select(microseconds(config, values.dtype)).to_series().to_list()
    )


@pytest.mark.parametrize(
    ("values", "unit", "wanted"),
    [
        (pl.Series([3]), "s", 3_000_000),
        (pl.Series([3]), "ms", 3_000),
        (pl.Series([3]), "us", 3),
        (pl.Series([3_999]), "ns", 3),
        (pl.Series([3], dtype=pl.UInt8), "s", 3_000_000),
        (pl.Series([1.5]), "s", 1_500_000),
        (pl.Series([datetime.date(2022, 4, 8)]), "ms", APRIL_8),
        (pl.Series([datetime.datetime(2022, 4, 8)]), "ms", APRIL_8),
        (pl.Series([datetime.datetime(2022, 4, 8)]).cast(pl.Datetime("ns")), "ms", APRIL_8),
        (pl.Series(["2022-04-08"]), "ms", APRIL_8),
        (pl.Series(["2022-04-08T00:00:03.5"]), "ms", APRIL_8 + 3_500_000),
        (pl.Series(["2022-04-08 00:00:03"]), "ms", APRIL_8 + 3_000_000),
        (pl.Series(["2022-04-08T08:00:00+08:00"]), "ms", APRIL_8),
        (pl.Series(["2022-04-08T00:00Z"]), "ms", APRIL_8),
        (pl.Series(["soon"]), "ms", None),
        (pl.Series([None], dtype=pl.Int64), "ms", None),
    ],
)
def test_every_way_to_write_a_time(values: pl.Series, unit: str, wanted: int | None) -> None:
    assert times(values, unit) == [wanted]


def test_a_zone_counts() -> None:
    zoned = pl.Series([datetime.datetime(2022, 4, 8)]).dt.replace_time_zone("Asia/Shanghai")
    assert times(zoned) == [APRIL_8 - 8 * HOUR]
    assert times(zoned, zone="Europe/Berlin") == [APRIL_8 - 8 * HOUR]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series(["2022-04-08"]),
        pl.Series(["2022-04-08 00:00"]),
        pl.Series([datetime.date(2022, 4, 8)]),
        pl.Series([datetime.datetime(2022, 4, 8)], dtype=pl.Datetime("ms")),
        pl.Series([datetime.datetime(2022, 4, 8)], dtype=pl.Datetime("ns")),
    ],
)
def test_a_time_without_a_zone_is_of_the_declared_one(values: pl.Series) -> None:
    assert times(values) == [APRIL_8]
    assert times(values, zone="Europe/Berlin") == [APRIL_8 - 2 * HOUR]


def test_no_time_where_the_clocks_skip_or_repeat_an_hour() -> None:
    skipped, repeated = (
        datetime.datetime(2022, 3, 27, 2, 30),
        datetime.datetime(2022, 10, 30, 2, 30),
    )
    values = pl.Series([skipped, repeated])
    assert times(values, zone="Europe/Berlin") == [None, None]
    assert times(pl.Series(["2022-03-27T02:30"]), zone="Europe/Berlin") == [None]
    assert None not in times(values)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("dtype", [pl.Int64(), pl.UInt64(), pl.Float64()])
def test_only_plausible_times_are_times(unit: Unit, dtype: pl.DataType) -> None:
    one = 1_000_000_000 // NANOSECONDS[unit]
    first, behind = APRIL_8 // SECOND * one, (APRIL_8 + 2 * DAY) // SECOND * one
    days = {"earliest": "2022-04-08", "latest": "2022-04-09"}
    values = pl.Series([first, behind, 2**62], dtype=dtype)
    assert times(values, unit, **days) == [APRIL_8, None, None]
    if not dtype.is_float():
        inside = pl.Series([first - 1, behind - 1], dtype=dtype)
        assert times(inside, unit, **days)[0] is None
        assert times(inside, unit, **days)[1] is not None


def test_a_time_may_be_as_late_as_tomorrow() -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    values = pl.Series([today + datetime.timedelta(days=n) for n in (0, 1, 2)])
    assert [time is None for time in times(values, latest=None)] == [False, False, True]


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("us"), pl.Date()])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_no_value_wraps(dtype: pl.DataType, zone: str) -> None:
    width = pl.Int32 if dtype == pl.Date else pl.Int64
    edges = [-(2**31), 2**31 - 1] if dtype == pl.Date else [-(2**63), 2**63 - 1]
    values = pl.Series(edges, dtype=width).cast(dtype)
    assert times(values, zone=zone) == [None, None]


def check(values: pl.Series, **settings: object) -> None:
    time = TimeConfig.model_validate({"column": "t"} | settings)
    rows = pl.LazyFrame({"t": values})
    timed = rows.with_columns(microseconds(time, values.dtype).alias("at"))
    check_times(timed, "at", time, values.dtype, "the rows")


@pytest.mark.parametrize("given_unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_says_which_unit_would_fit(unit: Unit, given_unit: Unit) -> None:
    value = APRIL_8 // SECOND * (1_000_000_000 // NANOSECONDS[given_unit])
    if unit == given_unit:
        check(pl.Series([value]), unit=unit)
        return
    with pytest.raises(DataError) as error:
        check(pl.Series([None, value]), unit=unit)
    assert f"the rows: column `t` holds {value}, which in `{unit}`" in str(error.value)
    assert f"in `{given_unit}` it would be 2022-04-08" in str(error.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("soon", r"; expected a time in ISO 8601 from .* STRPTIME"),
        ("1649376000", r"; expected a time in ISO 8601 from .* STRPTIME"),
        ("01.03.2024 00:18", r"; expected a time in ISO 8601 from .* STRPTIME"),
        ("9999-01-01", r"; expected a time from 1990-01-01 to .* earliest and latest"),
        ("0001-01-01", r"; expected a time from 1990-01-01 to .* earliest and latest"),
        ("1989-12-31T20:00:00Z", r"; expected a time from 1990-01-01 to .* earliest and latest"),
        ("2024-03-31 02:30", ", an hour that Europe/Berlin clocks skip or repeat"),
        ("2024-10-27 02:30", ", an hour that Europe/Berlin clocks skip or repeat"),
    ],
)
def test_says_what_no_time_is(value: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"column `t` holds '{value}'{reason}"):
        check(pl.Series([value]), zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("values", "example"),
    [
        (["1649376000", "n/a", "1649376001"], "'n/a'"),
        (["1649376000", None, ""], "''"),
        (["1649376000"], "'1649376000'"),
    ],
)
def test_a_word_among_numbers_is_what_is_wrong(values: list[str | None], example: str) -> None:
    with pytest.raises(DataError, match=rf"holds {example}; .*numbers in `s`.*types.*null_values"):
        check(pl.Series(values), unit="s")


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("ns"), pl.Date()])
def test_says_what_no_date_time_is(dtype: pl.DataType) -> None:
    moments = pl.Series([datetime.datetime(2024, 3, 31, 2, 30), datetime.datetime(1980, 1, 1)])
    reasons = ["an hour that Europe/Berlin clocks skip", "expected a time from 1990-01-01"]
    # At midnight, the clocks of Berlin are not changed.
    for moment, reason in zip(moments, reasons, strict=True):
        if dtype != pl.Date or "from" in reason:
            with pytest.raises(DataError, match=reason):
                check(pl.Series([moment]).cast(dtype), zone="Europe/Berlin")


@pytest.mark.parametrize("values", [pl.Series([None], dtype=pl.Int64), pl.Series([math.nan])])
def test_a_row_may_be_without_a_time(values: pl.Series) -> None:
    check(values, unit="s")


def test_a_number_needs_a_unit() -> None:
    with pytest.raises(DataError, match=r"data.time.unit: `t` is Int64; expected"):
        times(pl.Series([1]), None)


def test_names_the_nearest_zone() -> None:
    with pytest.raises(ValidationError, match=r"no time zone.*did you mean `Europe/Berlin`"):
        TimeConfig(column="t", zone="Europe/Berlim")


def test_refuses_other_types() -> None:
    with pytest.raises(DataError, match="`t` is Boolean"):
        times(pl.Series([True]))
    with pytest.raises(DataError, match="`t` is Float32; expected whole numbers, Float64"):
        times(pl.Series([1.7e9], dtype=pl.Float32), "s")


@given(st.lists(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2199, 1, 1))))
def test_text_and_date_time_agree(values: list[datetime.datetime]) -> None:
    series = pl.Series(values, dtype=pl.Datetime("us"))
    text = pl.Series([value.isoformat() for value in values], dtype=pl.String)
    assert times(text) == times(series)
