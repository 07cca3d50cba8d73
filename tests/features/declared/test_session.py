from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.declared.session import KEY, SessionConfig, number_sessions
from fulcrum.features.errors import DataError
from fulcrum.features.prepared import prepare as preparation
from fulcrum.features.prepared.prepare import PreparedDataset, prepare
from fulcrum.features.values.hashing import hash64
from fulcrum.testing.specs import make_spec
from tests.features.prepared.test_prepare import DATA, FEATURES, log, read

GAP = 10
Row = tuple[str | None, int | None]
"""Key and time."""

rows = st.tuples(st.sampled_from(["ann", "bob", "", None]), st.none() | st.integers(0, 90))
logs = st.lists(rows, max_size=40)


def sessions(log: list[Row], partitions: int = 1, gap: int = GAP) -> list[int]:
    frame = pl.LazyFrame(log, schema={"user": pl.String, "row.time": pl.Int64}, orient="row")
    frame = frame.with_columns(hash64(pl.col("user")).alias(KEY)).with_row_index("row.index")
    with TemporaryDirectory() as folder:
        return number_sessions(frame, gap, Path(folder) / "keys", partitions).tolist()


def groups(session: list[int]) -> set[frozenset[int]]:
    """Which rows are together, whatever the sessions' numbers."""
    return {
        frozenset(row for row, s in enumerate(session) if s == number) for number in set(session)
    }


@given(logs)
def test_neighbours_of_a_key_are_together_if_no_more_than_the_gap_apart(log: list[Row]) -> None:
    session = sessions(log)
    for key in {key for key, _ in log} - {None}:
        own = [(time, row) for row, (k, time) in enumerate(log) if k == key and time is not None]
        own.sort()
        for (earlier, row), (later, next_row) in pairwise(own):
            assert (session[row] == session[next_row]) == (later - earlier <= GAP)


@given(logs)
def test_sessions_are_numbered_densely_and_hold_one_key(log: list[Row]) -> None:
    session = sessions(log)
    assert set(session) == set(range(len(set(session))))
    keys = {(number, key) for number, (key, _) in zip(session, log, strict=True)}
    assert len(keys) == len(set(session))
    count = Counter(session)
    for number, (key, time) in zip(session, log, strict=True):
        assert count[number] == 1 or (key is not None and time is not None)


@given(logs, logs)
def test_later_events_change_nothing(log: list[Row], more: list[Row]) -> None:
    """Point-in-time: what a row belongs to is settled by what came before it."""
    last = max((time for _, time in log if time is not None), default=0)
    later = [(key, None if time is None else last + time) for key, time in more]
    before, after = sessions(log), sessions(log + later)
    assert groups(before) == groups(after[: len(log)])


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(2, 5), st.randoms())
def test_neither_partitions_nor_the_order_of_rows_matter(
    log: list[Row], partitions: int, random: Any
) -> None:
    session = sessions(log)
    assert sessions(log, partitions) == session
    order = list(range(len(log)))
    random.shuffle(order)
    shuffled = sessions([log[row] for row in order])
    for place, row in enumerate(order):
        if None not in log[row]:
            assert shuffled[place] == session[row]
    assert groups([shuffled[order.index(row)] for row in range(len(log))]) == groups(session)


def test_rows_without_a_key_or_a_time_are_alone() -> None:
    log: list[Row] = [(None, 1), ("ann", 1), (None, 1), ("ann", None), ("ann", 1), ("ann", None)]
    session = sessions(log)
    assert session[1] == session[4] == 0
    assert [session[row] for row in (0, 2, 3, 5)] == [1, 2, 3, 4]


def test_the_gap_is_a_duration() -> None:
    assert SessionConfig(key="user").microseconds == 30 * 60 * 10**6
    with pytest.raises(ValueError, match="for example `30m`"):
        SessionConfig(key="user", gap="half an hour")
    with pytest.raises(ValueError, match="more than 0"):
        SessionConfig(key="user", gap="0m")


SESSION = {"session": {"key": "user", "gap": "6h"}}


def dataset(folder: Path, frame: pl.DataFrame, data: dict[str, Any]) -> PreparedDataset:
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / "log.parquet")
    spec = make_spec(FEATURES, DATA | {"events": str(folder / "log.parquet")} | data)
    return prepare(spec, folder)


def logged() -> pl.DataFrame:
    """A log with ties, a row number, and rows of nobody."""
    frame = log().with_columns(t=pl.col("t") // 1000 * 1000, n=pl.int_range(pl.len()))
    return frame.with_columns(user=pl.when(pl.col("n") % 40 > 0).then("user"))


def test_shards_hold_sessions_in_one_piece_and_in_time_order(tmp_path: Path) -> None:
    frame = logged()
    data = SESSION | {"keys": ["user", "n"]}
    made = dataset(tmp_path, frame, data)
    parts = {split: read(made, split) for split in ("train", "valid", "test")}
    for part in parts.values():
        runs = part["row.session"].rle().struct.field("value")
        assert runs.n_unique() == len(runs)
        for _, own in part.group_by("row.session", maintain_order=True):
            keys = own.select("row.time", "row.key.n").rows()
            assert keys == sorted(keys)
    whole = pl.concat(parts.values()).sort("row.key.n")
    assert whole["row.key.n"].to_list() == list(range(len(frame)))
    sessions = whole["row.session"]
    assert sorted(sessions.unique()) == list(range(sessions.n_unique()))
    crossing = set(parts["train"]["row.session"]) & set(parts["valid"]["row.session"])
    assert crossing


def test_sessions_of_a_user_are_no_neighbours(tmp_path: Path) -> None:
    train = read(dataset(tmp_path, logged(), SESSION), "train")
    first = train.unique("row.session", keep="first", maintain_order=True).drop_nulls(
        "row.key.user"
    )
    users = first["row.key.user"].to_numpy()
    assert np.mean(users[1:] == users[:-1]) < 0.15


def test_rows_are_those_without_sessions_in_another_order(tmp_path: Path) -> None:
    frame = logged()
    keys = {"keys": ["user", "n"]}
    with_sessions = dataset(tmp_path / "one", frame, SESSION | keys)
    without = dataset(tmp_path / "two", frame, keys)
    for split in ("train", "valid", "test"):
        assert_frame_equal(
            read(with_sessions, split).drop("row.session").sort("row.key.n"),
            read(without, split).sort("row.key.n"),
            check_exact=True,
        )


def test_partitions_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = logged()
    one = dataset(tmp_path / "one", frame, SESSION)
    monkeypatch.setattr(preparation, "EVENTS_PER_PART", 60)
    many = dataset(tmp_path / "many", frame, SESSION)
    for split in ("train", "valid", "test"):
        assert_frame_equal(read(one, split), read(many, split), check_exact=True)


def test_the_key_may_be_derived_and_conditions_come_first(tmp_path: Path) -> None:
    """Rows that `where` leaves out bridge no pause."""
    frame = pl.DataFrame(
        {
            "user": [1] * 40,
            "item": [n % 2 for n in range(40)],
            "length": [0.0] * 40,
            "t": [n * 20 * 60 for n in range(40)],
            "click": [n // 2 % 2 for n in range(40)],
        }
    )
    data = {"derive": {"who": '"user" * 2'}, "session": {"key": "who"}, "keys": []}
    assert read(dataset(tmp_path, frame, data), "train")["row.session"].n_unique() == 1
    half = dataset(tmp_path, frame, data | {"where": "item = 0"})
    assert read(half, "train")["row.session"].n_unique() == half.rows("train")


def test_an_unknown_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.session\.key: .* `usr`; did you mean `user`"):
        dataset(tmp_path, log(), {"session": {"key": "usr"}})
