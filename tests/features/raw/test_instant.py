import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.instant import microseconds

DAY = 86_400_000_000
APRIL_8 = 19_090 * DAY  # 2022-04-08


def times(values: pl.Series, unit: str = "ms") -> list[int | None]:
    config = TimeConfig.model_validate({"column": "t", "unit": unit})
    return (
        pl.DataFrame({"t": values}).select(microseconds(config, values.dtype)).to_series().to_list()
    )


@pytest.mark.parametrize(
    ("values", "unit", "wanted"),
    [
        (pl.Series([3]), "s", 3_000_000),
        (pl.Series([3]), "ms", 3_000),
        (pl.Series([3]), "us", 3),
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
    assert times(zoned) == [APRIL_8 - 8 * DAY // 24]


def test_refuses_other_types() -> None:
    with pytest.raises(DataError, match="`t` is Boolean"):
        times(pl.Series([True]))


@given(st.lists(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))))
def test_text_and_date_time_agree(values: list[datetime.datetime]) -> None:
    series = pl.Series(values, dtype=pl.Datetime("us"))
    text = pl.Series([value.isoformat() for value in values], dtype=pl.String)
    assert times(text) == times(series)
