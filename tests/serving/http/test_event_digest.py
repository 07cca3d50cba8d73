"""Events are known by what `json.dumps` makes of a row: stores that are there depend on it."""

import hashlib
import json
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.serving.http.event_digest import digests
from fulcrum.testing.kinds import examples

SCHEMA = {
    "id": pl.Int64,
    "text": pl.String,
    "play": pl.Float64,
    "long": pl.Boolean,
    "none": pl.Null,
}
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text() | st.sampled_from(["", 'a"b', "a\\b", "a\nb", "é", "], ["]),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none(),
    ),
    max_size=8,
)


@examples(50)
@given(rows=ROWS, names=st.permutations(list(SCHEMA)), count=st.integers(1, len(SCHEMA)))
def test_a_row_is_hashed_as_its_json(rows: list[Any], names: list[str], count: int) -> None:
    names = names[:count]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    expected = [
        hashlib.blake2b(json.dumps(list(row)).encode(), digest_size=16).digest()
        for row in frame.select(names).iter_rows()
    ]
    assert digests(frame, names) == expected
