import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.features.raw.conform import conform


def one(value: pl.Series, dtype: pl.DataType) -> pl.Series:
    return conform(pl.LazyFrame({"x": value}), {"x": dtype}).collect()["x"]


@pytest.mark.parametrize(
    ("given_", "dtype", "wanted"),
    [
        (pl.Series(["42", None]), pl.Int64(), [42, None]),
        (pl.Series([42.0, float("nan")]), pl.Int64(), [42, None]),
        (pl.Series([42, 7]), pl.String(), ["42", "7"]),
        (pl.Series([42.0, 1.5]), pl.String(), ["42", "1.5"]),
        (pl.Series(["a", None], dtype=pl.Categorical), pl.String(), ["a", None]),
        (pl.Series(["1.5"]), pl.Float64(), [1.5]),
        (pl.Series([0.1]), pl.Float32(), [pytest.approx(0.1)]),
        (pl.Series([1, 0]), pl.Boolean(), [True, False]),
        (pl.Series(["true", "0"]), pl.Boolean(), [True, False]),
        (pl.Series([None, None]), pl.Int64(), [None, None]),
        (pl.Series([1, 2]), pl.Null(), [None, None]),
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
    ],
)
def test_refuses_a_value_that_the_type_cannot_hold(given_: pl.Series, dtype: pl.DataType) -> None:
    with pytest.raises(DataError, match=r"(?s)column `x` (is|holds) .*; expected values of type"):
        one(given_, dtype)


def test_names_the_nearest_column() -> None:
    with pytest.raises(DataError, match="no column `user_id`; did you mean `userid`"):
        conform(pl.LazyFrame({"userid": [1]}), {"user_id": pl.Int64()})


@given(st.lists(st.integers(-(2**40), 2**40)))
def test_numbers_survive_text(values: list[int]) -> None:
    series = pl.Series(values, dtype=pl.Int64)
    assert one(series.cast(pl.String), pl.Int64()).to_list() == values
