import datetime
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.conform import conform

DAY, NOON = datetime.date(2022, 4, 8), datetime.datetime(2022, 4, 8, 12)


def f32(value: float) -> float:
    return float(np.float32(value))


def one(value: pl.Series, dtype: pl.DataType) -> pl.Series:
    return conform(pl.LazyFrame({"x": value}), {"x": dtype}).collect()["x"]


@pytest.mark.parametrize(
    ("given_", "dtype", "wanted"),
    [
        (pl.Series(["42", None]), pl.Int64(), [42, None]),
        (pl.Series([42.0, float("nan")]), pl.Int64(), [42, None]),
        (pl.Series([2.0**24], dtype=pl.Float32), pl.Int64(), [2**24]),
        (pl.Series([42, 7]), pl.String(), ["42", "7"]),
        (pl.Series([42.0, 1.5]), pl.String(), ["42", "1.5"]),
        (pl.Series(["a", None], dtype=pl.Categorical), pl.String(), ["a", None]),
        (pl.Series(["1.5"]), pl.Float64(), [1.5]),
        (pl.Series([0.1]), pl.Float32(), [pytest.approx(0.1)]),
        (pl.Series([1, 0]), pl.Boolean(), [True, False]),
        (pl.Series(["true", "0"]), pl.Boolean(), [True, False]),
        (pl.Series([None, None]), pl.Int64(), [None, None]),
        (pl.Series([1, 2]), pl.Null(), [None, None]),
        (pl.Series([65060.393, 1 / 3]), pl.Float32(), [f32(65060.393), f32(1 / 3)]),
        (pl.Series(["65060.393"]), pl.Float32(), [f32(65060.393)]),
        (pl.Series([math.inf, -math.inf, math.nan]), pl.Float32(), [math.inf, -math.inf, None]),
        (pl.Series([2**24 + 1]), pl.Float32(), [f32(2**24 + 1)]),
        (pl.Series([True, None]), pl.Int64(), [1, None]),
        (pl.Series([True, False]), pl.String(), ["true", "false"]),
        (pl.Series([0.0, 1.0]), pl.Boolean(), [False, True]),
        (pl.Series(["7", "-7"], dtype=pl.Categorical), pl.Int64(), [7, -7]),
        (pl.Series([Decimal(2**60 + 1)]), pl.Int64(), [2**60 + 1]),
        (pl.Series([Decimal(2**60 + 1)]), pl.String(), [str(2**60 + 1)]),
        (pl.Series([Decimal("1.5")]), pl.Float64(), [1.5]),
        (pl.Series([NOON], dtype=pl.Datetime("ns")), pl.Datetime("ms"), [NOON]),
        (pl.Series([DAY]), pl.Datetime("ns"), [datetime.datetime(2022, 4, 8)]),
        (pl.Series([datetime.datetime(2022, 4, 8)]), pl.Date(), [DAY]),
        (pl.Series(["2022-04-08T14:00+02:00"]), pl.Datetime("us"), [NOON]),
        (pl.Series([datetime.timedelta(1)]), pl.Duration("ns"), [datetime.timedelta(1)]),
        (pl.Series(["01:02:03"]), pl.Time(), [datetime.time(1, 2, 3)]),
        (pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), pl.List(pl.String()), [["1", "2"]]),
        (pl.Series([[NOON]]), pl.List(pl.Datetime("ms")), [[NOON]]),
        (pl.Series([[1, 2], [], None]), pl.List(pl.String()), [["1", "2"], [], None]),
        (pl.Series([["1"]]), pl.List(pl.Int64()), [[1]]),
        (pl.Series(["2022-04-08"]), pl.Date(), [datetime.date(2022, 4, 8)]),
        (
            pl.Series(["2022-04-08T01:02:03"]),
            pl.Datetime("us"),
            [datetime.datetime(2022, 4, 8, 1, 2, 3)],
        ),
    ],
)
def test_takes_the_same_value_in_another_type(
    given_: pl.Series, dtype: pl.DataType, wanted: list
) -> None:
    cast = one(given_, dtype)
    assert cast.dtype == dtype
    assert cast.to_list() == wanted


@pytest.mark.parametrize(
    ("given_", "dtype"),
    [
        (pl.Series(["1", "one"]), pl.Int64()),
        (pl.Series([1.5]), pl.Int64()),
        (pl.Series([300]), pl.Int8()),
        (pl.Series([["1", "one"]]), pl.List(pl.Int64())),
        (pl.Series(["yesterday"]), pl.Datetime("us")),
        (pl.Series([[1]]), pl.Int64()),
        (pl.Series([2, 1]), pl.Boolean()),
        (pl.Series([0.5]), pl.Boolean()),
        (pl.Series(["yes"]), pl.Boolean()),
        (pl.Series(["007"]), pl.Int64()),
        (pl.Series(["+7"]), pl.Int64()),
        (pl.Series(["7.0"]), pl.Int64()),
        (pl.Series([2.0**53 + 2]), pl.Int64()),
        (pl.Series([2.0**24 + 2], dtype=pl.Float32), pl.Int64()),
        (pl.Series([math.inf]), pl.Int64()),
        (pl.Series([2**53 + 1, 2**63], dtype=pl.UInt64), pl.Int64()),
        (pl.Series([1e39]), pl.Float32()),
        (pl.Series(["1e39"]), pl.Float32()),
        (pl.Series([Decimal("1.5")]), pl.Int64()),
        (pl.Series([Decimal("1.50")]), pl.String()),
        (pl.Series([DAY]), pl.Int64()),
        (pl.Series([DAY]), pl.Float64()),
        (pl.Series([DAY]), pl.String()),
        (pl.Series([DAY]), pl.Boolean()),
        (pl.Series([19_000]), pl.Date()),
        (pl.Series([1.5]), pl.Datetime("us")),
        (pl.Series([True]), pl.Datetime("us")),
        (pl.Series([NOON]), pl.Date()),
        (pl.Series([NOON + datetime.timedelta(microseconds=1)]), pl.Datetime("ms")),
        (pl.Series([2**62]).cast(pl.Datetime("ms")), pl.Datetime("ns")),
        (pl.Series([datetime.timedelta(1)]), pl.Int64()),
        (pl.Series([datetime.timedelta(1)]), pl.String()),
        (pl.Series([datetime.timedelta(microseconds=1)]), pl.Duration("ms")),
        (pl.Series([1]), pl.Duration("us")),
        (pl.Series([datetime.time(1)]), pl.Datetime("us")),
        (pl.Series(["25:00:00"]), pl.Time()),
        (pl.Series([{"a": 1}]), pl.Int64()),
        (pl.Series([{"a": 1}]), pl.String()),
        (pl.Series([[[1]]]), pl.List(pl.Int64())),
        *((pl.Series([b"1"]), dtype()) for dtype in (pl.String, pl.Int64, pl.Float32, pl.Boolean)),
        (pl.Series([[b"1"]]), pl.List(pl.String())),
    ],
)
def test_refuses_a_value_that_the_type_cannot_hold(given_: pl.Series, dtype: pl.DataType) -> None:
    with pytest.raises(DataError, match=r"(?s)column `x` (is|holds) .*; expected values of type"):
        one(given_, dtype)


@pytest.mark.parametrize("hour", ["2024-03-31 02:30", "2024-10-27T02:30:00"])
def test_tells_an_hour_that_clocks_do_not_show_once(hour: str) -> None:
    time = TimeConfig(column="x", zone="Europe/Berlin")
    rows = pl.LazyFrame({"x": [hour]})
    with pytest.raises(DataError, match=f"holds '{hour}', an hour that Europe/Berlin clocks skip"):
        conform(rows, {"x": pl.Datetime("us")}, time=time)


@pytest.mark.parametrize("value", ["a", datetime.timedelta(1)])
def test_says_where_a_type_is_from(value: object) -> None:
    rows, types = pl.LazyFrame({"x": [value]}), {"x": pl.Int64()}
    with pytest.raises(DataError, match=r"type Int64, as in training$"):
        conform(rows, types)
    with pytest.raises(DataError, match=r"type Int64, as in the events$"):
        conform(rows, types, origins={"x": "as in the events"})


def test_names_the_nearest_column() -> None:
    with pytest.raises(DataError, match="no column `user_id`; did you mean `userid`"):
        conform(pl.LazyFrame({"userid": [1]}), {"user_id": pl.Int64()})


@given(st.lists(st.integers(-(2**40), 2**40)))
def test_numbers_survive_text(values: list[int]) -> None:
    series = pl.Series(values, dtype=pl.Int64)
    assert one(series.cast(pl.String), pl.Int64()).to_list() == values
