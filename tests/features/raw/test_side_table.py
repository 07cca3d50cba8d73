from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.raw.side_table import SideTable

KEYS: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    (pl.Int64(), st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)])),
    (pl.UInt64(), st.integers(0, 3) | st.just(2**64 - 1)),
    (pl.Int8(), st.integers(-3, 3)),
    (pl.String(), st.sampled_from(["", "a", "A", "1", "01", "é"])),
    (pl.Boolean(), st.booleans()),
    (pl.Date(), st.sampled_from([date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29)])),
    (pl.Datetime("ms"), st.sampled_from([datetime(1969, 12, 31), datetime(2024, 2, 29, 1)])),
    (pl.Decimal(10, 2), st.sampled_from([1, 2, 3])),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: str(key[0]))
@given(data=st.data())
def test_rows_get_what_a_join_gives_them(
    key: tuple[pl.DataType, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    dtype, values = key
    there = data.draw(st.lists(values, unique=True, max_size=4))
    wanted = data.draw(st.lists(st.none() | values, max_size=6))
    table = pl.DataFrame(
        {
            "id": pl.Series(there, dtype=dtype),
            "word": [f"of {n}" for n in range(len(there))],
            "list": pl.Series([[n] for n in range(len(there))], dtype=pl.List(pl.Int64)),
        },
        schema_overrides={"word": pl.String},
    )
    rows = pl.DataFrame({"id": pl.Series(wanted, dtype=dtype)})
    side = SideTable(table, "id")
    places = side.places(rows["id"])
    joined = rows.join(table, on="id", how="left", maintain_order="left")
    assert_frame_equal(rows.hstack(side.only(["word", "list"]).columns(places)), joined)
    assert (places == len(there)).tolist() == joined["word"].is_null().to_list()
