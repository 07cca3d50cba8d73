"""A table of texts finds each of them, and nothing else."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.kinds.places import Places
from fulcrum.features.kinds.vocabulary import Vocabulary
from fulcrum.features.layout import NULL, UNKNOWN

WORDS = st.text(max_size=20) | st.integers(0, 99).map(str)


@given(st.lists(WORDS, unique=True), st.lists(WORDS))
def test_every_text_is_found_where_it_stands(texts: list[str], words: list[str]) -> None:
    places = {text: place for place, text in enumerate(texts)}
    asked = [*texts, *words]
    answer = Places(pl.Series(texts, dtype=pl.String)).of(pl.Series(asked, dtype=pl.String))
    assert answer.tolist() == [places.get(word, -1) for word in asked]


@pytest.mark.parametrize("size", [10, 20_000, 20_001])
@pytest.mark.parametrize("rows", [10, 30_000])
def test_a_vocabulary_of_any_size_knows_its_values(size: int, rows: int) -> None:
    """Few values, and few rows, are looked up in another way than many."""
    texts = [f"item {i}" for i in range(size)]
    values = pl.DataFrame(
        {"value": texts, "count": [1] * size}, schema_overrides={"count": pl.Int64}
    )
    known = [(7 * i) % size for i in range(rows)]
    words = pl.DataFrame(
        {"f": [*(texts[place] for place in known), None, "", "item", f"item {size}"]}
    )
    ids = words.select(Vocabulary(values).ids(pl.col("f"))).to_series()
    assert ids.dtype == pl.Int32
    assert ids.to_list() == [*(2 + place for place in known), NULL, UNKNOWN, UNKNOWN, UNKNOWN]
