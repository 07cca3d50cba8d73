import datetime as dt
from typing import Any

import polars as pl
import pytest

from fulcrum.features.values.text import no_text, text

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["", "a", None], pl.String()),
        ([0, None, 7], pl.Int8()),
        ([0.0, NAN, None, 0.5, float("inf")], pl.Float32()),
        ([0.0, NAN, None, 1e300], pl.Float64()),
        ([True, None], pl.Boolean()),
        ([dt.date(2020, 1, 1), None], pl.Date()),
        ([None], pl.Null()),
        (["1.50", None], pl.Decimal(10, 2)),
    ],
    ids=str,
)
def test_what_has_no_text_is_known_without_writing_it(
    values: list[Any], dtype: pl.DataType
) -> None:
    frame = pl.DataFrame({"v": pl.Series(values).cast(dtype)})
    column = pl.col("v")
    told = frame.select(no_text(column, dtype)).to_series().to_list()
    assert told == frame.select(text(column, dtype).is_null()).to_series().to_list()
    assert True in told
