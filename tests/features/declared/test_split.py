from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fulcrum.features.declared.split import SplitConfig, split_column
from fulcrum.features.errors import DataError

shares = st.sampled_from([0.0, 0.1, 0.25, 0.4])


def deal(config: dict[str, Any], rows: dict[str, list[Any]]) -> tuple[list[str], dict[str, Any]]:
    frame = pl.LazyFrame(rows).with_row_index("row.index")
    dealt = TypeAdapter(SplitConfig).validate_python(config).deal(frame)
    return frame.with_columns(dealt.split.alias("s")).collect()["s"].to_list(), dealt.boundaries


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), shares, shares)
def test_no_later_row_is_in_an_earlier_split(times: list[int], valid: float, test: float) -> None:
    splits, _ = deal({"kind": "time", "valid": valid, "test": test}, {"row.time": times})
    rank = {"train": 0, "valid": 1, "test": 2}
    ordered = [rank[s] for _, s in sorted(zip(times, splits, strict=True), key=lambda p: p[0])]
    assert ordered == sorted(ordered)
    assert len({(time, s) for time, s in zip(times, splits, strict=True)}) == len(set(times))
    assert splits.count("test") >= round(len(times) * test) - 1
    assert "valid" not in splits or valid > 0


def test_a_time_boundary_is_a_time_and_ties_stay_together() -> None:
    day = 86_400_000_000
    times = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    splits, boundaries = deal(
        {"kind": "time", "valid": 0.1, "test": 0.1}, {"row.time": [t * day for t in times]}
    )
    assert splits == ["train"] * 7 + ["test"] * 3
    assert boundaries["test from"] == "1970-01-08T00:00:00"


@given(st.integers(1, 200), shares, shares)
def test_an_order_split_cuts_once(count: int, valid: float, test: float) -> None:
    splits, _ = deal({"kind": "order", "valid": valid, "test": test}, {"x": list(range(count))})
    assert splits == sorted(splits, key=["train", "valid", "test"].index)


@given(st.lists(st.none() | st.text(max_size=4), max_size=40), st.text(max_size=3))
def test_rows_of_one_key_stay_together(keys: list[str | None], salt: str) -> None:
    config = {"kind": "hash", "key": "k", "salt": salt}
    splits, _ = deal(config, {split_column("k"): pl.Series(keys, dtype=pl.String)})
    assert len(set(zip(keys, splits, strict=True))) == len(set(keys))
    assert set(splits) <= {"train", "valid", "test"}
    assert all(s == "train" for k, s in zip(keys, splits, strict=True) if k is None)


def test_a_hash_split_keeps_its_shares_and_follows_the_salt() -> None:
    rows = {split_column("k"): list(range(20_000))}
    splits, _ = deal({"kind": "hash", "key": "k", "valid": 0.1, "test": 0.2}, rows)
    counts = {s: splits.count(s) / 20_000 for s in ("train", "valid", "test")}
    assert counts == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.01)
    other, _ = deal({"kind": "hash", "key": "k", "valid": 0.1, "test": 0.2, "salt": "b"}, rows)
    assert other != splits


@pytest.mark.parametrize("word", [True, "true"])
def test_a_column_split_takes_yes_and_no(word: object) -> None:
    config = {"kind": "column", "column": "b", "train": [word], "test": [False]}
    splits, _ = deal(config, {split_column("b"): [True, False, None]})
    assert splits == ["train", "test", None]


def test_a_column_split_says_what_the_column_holds() -> None:
    config = {"kind": "column", "column": "day", "train": [7], "test": ["08"]}
    message = r"data.split.train: `day` holds '07', '08'; expected one of \[7\]"
    with pytest.raises(DataError, match=message):
        deal(config, {split_column("day"): ["07", "08"]})


def test_a_column_split_leaves_other_values_out() -> None:
    config = {"kind": "column", "column": "day", "train": [1, 2], "valid": ["3"], "test": [4]}
    splits, _ = deal(config, {split_column("day"): [1, 2, 3, 4, 5, None]})
    assert splits == ["train", "train", "valid", "test", None, None]


def test_shares_must_leave_rows_to_train() -> None:
    with pytest.raises(ValidationError, match="leave rows to train"):
        TypeAdapter(SplitConfig).validate_python({"kind": "order", "valid": 0.5, "test": 0.5})
