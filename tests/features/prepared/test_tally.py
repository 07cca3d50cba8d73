"""What is counted block by block is what the whole split holds."""

from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.layout import BagInput, DenseInput, IdInput, Layout, TableSpec, TaskSpec
from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.prepared.tally import MISSING, Sample, Tally

KNOWN = 5
LAYOUT = Layout(
    tables=(TableSpec(name="a", rows=KNOWN),),
    ids=(IdInput(name="a", table="a"),),
    bags=(BagInput(name="bag", table="a", max_length=3),),
    dense=(DenseInput(name="x"),),
    tasks=(TaskSpec(name="click", kind="binary"),),
)
ids = st.integers(0, KNOWN - 1)
rows = st.tuples(
    ids, st.lists(ids, max_size=3), st.integers(-3, 3), st.booleans(), st.integers(NOBODY, 2)
)
cuts = st.lists(st.integers(0, 30), max_size=4)


def blocks(frame: pl.DataFrame, cuts: list[int]) -> list[pl.DataFrame]:
    ends = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    return [frame[start:end] for start, end in pairwise(ends) if end > start]


@given(st.lists(rows, min_size=1, max_size=30), cuts)
def test_counts_are_those_of_all_rows(values: list[tuple], cuts: list[int]) -> None:
    one, bag, x, absent, group = map(list, zip(*values, strict=True))
    frame = pl.DataFrame(
        {
            "a": pl.Series(one, dtype=pl.Int32),
            "bag": pl.Series(bag, dtype=pl.List(pl.Int32)),
            "x": pl.Series(x, dtype=pl.Float32),
            "row.group": pl.Series(group, dtype=pl.Int64),
            "label.click": pl.Series(np.zeros(len(x)), dtype=pl.Float32),
            "observed.click": pl.Series([True] * len(x)),
            f"{MISSING}x": pl.Series(absent),
        }
    )
    tally = Tally(LAYOUT, len(frame))
    for block in blocks(frame, cuts):
        tally.add(block)
    assert tally.uses["a"].tolist() == [one.count(k) for k in range(KNOWN)]
    flat = [k for members in bag for k in members]
    assert tally.uses["bag"].tolist() == [*(flat.count(k) for k in range(KNOWN)), bag.count([])]
    assert tally.longest["bag"] == max(map(len, bag))
    assert tally.missing["x"] == sum(absent)
    assert tally.nobody == group.count(NOBODY)
    assert tally.is_constant("a") == (len(set(one)) == 1)
    assert tally.is_constant("x") == (len(set(x)) == 1)
    assert tally.numbers.frame["x"].to_list() == x


@given(st.integers(1, 60), st.integers(1, 20), cuts)
def test_a_sample_is_every_nth_row_however_blocks_are_cut(
    count: int, size: int, cuts: list[int]
) -> None:
    frame = pl.DataFrame({"row": np.arange(count), "more": np.zeros(count)})
    sample = Sample(["row"], count, size)
    for block in blocks(frame, cuts):
        sample.add(block)
    assert sample.frame["row"].to_list() == list(range(0, count, max(1, count // size)))
