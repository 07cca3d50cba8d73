"""What a model sees of the stored events is what it would see of all of them, read at once."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.features.past import growing
from fulcrum.features.past.growing import GrowingPast
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http import live_past
from fulcrum.serving.http.event_store import EventStore, open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.testing.kinds import examples
from fulcrum.testing.logs import SECOND
from fulcrum.testing.specs import encode, learn

SCHEMA = {
    "user": pl.String,
    "item": pl.Int64,
    "time": pl.Int64,
    "click": pl.Int8,
    "play": pl.Float64,
    "known": pl.Int64,
}
DATA: dict[str, Any] = {
    "time": {"column": "time", "unit": "us", "earliest": "1970-01-01"},
    "derive": {"pair": """COALESCE("user", '?') || '/' || item"""},
    "outcomes": {"click": {"known_at": "known", "known_after": "3s"}, "play": {}, "known": {}},
}
FEATURES: dict[str, Any] = {
    "item": {"kind": "categorical"},
    "clicks": {
        "kind": "window",
        "key": "user",
        "statistic": "count",
        "where": "click = 1",
        "encode": {"transform": "raw"},
    },
    "pairs": {"kind": "window", "key": "pair", "statistic": "rate", "where": "click = 1"},
    "play": {"kind": "window", "key": "item", "statistic": "mean", "value": "play", "over": "4s"},
    "seen": {
        "kind": "history",
        "key": "user",
        "where": "click = 1",
        "length": 3,
        "attributes": ["item"],
    },
}
EVENTS = st.fixed_dictionaries(
    {
        "user": st.none() | st.sampled_from("ab"),
        "item": st.none() | st.integers(0, 2),
        "time": st.integers(0, 8).map(lambda t: t * SECOND),
        "click": st.none() | st.integers(0, 1),
        "play": st.none() | st.sampled_from([0.1, -2.5, 1e15]),
        "known": st.none() | st.integers(0, 9).map(lambda t: t * SECOND),
    }
)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=5), max_size=8)


def frame(events: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(events, schema=SCHEMA)


TRAIN = frame(
    [
        {"user": "a", "item": n % 3, "time": n * SECOND, "click": n % 2, "play": 0.5, "known": None}
        for n in range(8)
    ]
)
ROWS = frame(
    [
        {"user": user, "item": item, "time": time * SECOND}
        for user in ("a", "b", None)
        for item in (0, 1, None)
        for time in (0, 3, 4, 9, 20)
    ]
).select("user", "item", "time")


@pytest.fixture(scope="module")
def state() -> FeatureState:
    return learn(TRAIN, FEATURES, data=DATA)


def make_store(state: FeatureState, path: Path | None, *event_key: str) -> EventStore:
    store = open_store([state], ServingConfig(event_key=event_key), path)
    assert store is not None
    return store


def stored(store: EventStore) -> pl.DataFrame:
    with store.held() as held:
        return pl.concat(held.frames)


def check(
    past: LivePast, store: EventStore, state: FeatureState, lateness: int | None = None
) -> None:
    """Rows within the lateness, whenever the outcomes of the newest events are known."""
    events, rows = stored(store), ROWS
    if lateness is not None and len(events):
        rows = rows.filter(pl.col("time") >= events["time"].max() - lateness)
    expected = encode(rows, state, events)
    answers = encode(rows, state, past.gathered())
    assert_frame_equal(answers, expected, check_exact=True)


@examples(10)
@given(
    batches=BATCHES,
    event_key=st.sampled_from([(), ("user", "time"), ("time",)]),
    in_file=st.booleans(),
    few=st.sampled_from([0, 3, 1000]),
    lateness=st.none() | st.sampled_from([0, 5 * SECOND]),
)
def test_what_came_and_what_changed_is_in(
    state: FeatureState,
    batches: list[list[dict[str, Any]]],
    event_key: tuple[str, ...],
    in_file: bool,
    few: int,
    lateness: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With an event key an event that comes again fills in an outcome, when it was known, and even
    a key. One past has been there from the start, one looks now and then, one begins anew. With a
    lateness they forget."""
    path = tmp_path_factory.mktemp("store") / "events.db" if in_file else None
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(make_store(state, path, *event_key)) as store,
    ):
        patch.setattr(live_past, "FEW", few)
        patch.setattr(growing, "FEWEST", 0)
        past, late = (LivePast(store, state, lateness) for _ in range(2))
        for number, batch in enumerate(batches):
            store.append(frame(batch))
            check(past, store, state, lateness)
            if number % 3 == 2:
                check(late, store, state, lateness)
        check(late, store, state, lateness)
        check(LivePast(store, state, lateness), store, state, lateness)


def test_a_long_store_is_sorted_in_files(
    state: FeatureState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_past, "EVENTS_IN_MEMORY", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    store = make_store(state, tmp_path / "events.db")
    log = [row | {"user": user} for row in TRAIN.to_dicts() for user in ("a", "b", None)]
    store.append(frame(log[:21]))
    past = LivePast(store, state)
    assert not list((tmp_path / "temp").iterdir())
    check(past, store, state)
    store.append(frame(log[21:]))
    check(past, store, state)


def test_services_share_a_file(state: FeatureState, tmp_path: Path) -> None:
    """What another process posts is in the next answer."""
    path = tmp_path / "events.db"
    store = make_store(state, path)
    past = LivePast(store, state)
    code = (
        "import sys, polars as pl\n"
        "from pathlib import Path\n"
        "from fulcrum.serving.http.event_store import EventStore\n"
        "from tests.serving.http.test_live_past import TRAIN\n"
        "columns = {name: TRAIN.schema[name] for name in sys.argv[2:]}\n"
        "EventStore(Path(sys.argv[1]), columns).append(TRAIN)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), *store.columns], check=True)
    check(past, store, state)
    assert store.count() == len(TRAIN)


def test_many_ask_while_others_post(state: FeatureState, tmp_path: Path) -> None:
    """Every answer holds what was posted before it was asked for, and the last one all there is."""
    path = tmp_path / "events.db"
    stores = [make_store(state, path) for _ in range(2)]
    past = LivePast(stores[0], state)
    posted, wrong, ends = [0, 0], [], threading.Event()
    row = ROWS[-1:].with_columns(user=pl.lit("a"), time=pl.lit(100 * SECOND))

    def post(place: int) -> None:
        for n in range(20):
            event = {"user": "a", "item": 1, "time": (2 * n + place) * SECOND, "click": 1}
            stores[place].append(frame([event | {"play": None, "known": None}]))
            posted[place] += 1

    def ask() -> None:
        while not ends.is_set():
            before = sum(posted)
            clicks = encode(row, state, past.gathered())["clicks"][0]
            if clicks < before:
                wrong.append((clicks, before))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    posting = [threading.Thread(target=post, args=(place,)) for place in range(2)]
    for thread in [*asking, *posting]:
        thread.start()
    for thread in posting:
        thread.join(60)
    ends.set()
    for thread in asking:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
    assert posted == [20, 20]
    check(past, stores[0], state)


def test_one_that_broke_off_begins_anew(
    state: FeatureState, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(state, None)
    past = LivePast(store, state)
    change, calls = GrowingPast.change, []

    def full(self: GrowingPast, *changes: Any) -> None:
        calls.append(self)
        if len(calls) == 2:
            raise OSError(28, os.strerror(28))
        change(self, *changes)

    monkeypatch.setattr(GrowingPast, "change", full)
    store.append(TRAIN)
    with pytest.raises(ResourceError, match="no space left"):
        past.gathered()
    check(past, store, state)
    assert len(calls) == 2


def test_an_event_dated_ahead_makes_no_row_too_late(
    state: FeatureState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "FEWEST", 0)
    now = time.time_ns() // 1_000
    events = TRAIN.with_columns(pl.col("time") + now - 9 * SECOND)
    ahead = TRAIN[:1].with_columns(time=pl.lit(now + 20 * 3600 * SECOND))
    store = make_store(state, None)
    past = LivePast(store, state, SECOND)
    for more in (events, ahead):
        store.append(more)
        past.gathered()
    row = ROWS[:1].with_columns(time=pl.lit(now))
    for one in (past, LivePast(store, state, SECOND)):
        assert_frame_equal(encode(row, state, one.gathered()), encode(row, state, stored(store)))


def test_events_that_a_model_cannot_read_are_said_at_the_start(
    state: FeatureState, tmp_path: Path
) -> None:
    path = tmp_path / "events.db"
    EventStore(path, state.past_columns).append(TRAIN.with_columns(time=pl.lit(-1)))
    with pytest.raises(DataError, match="the stored events: column `time` holds -1"):
        LivePast(make_store(state, path), state)


def test_a_store_of_an_earlier_version_is_taken_over(state: FeatureState, tmp_path: Path) -> None:
    """As one looks that was made before changes were numbered."""
    path = tmp_path / "events.db"
    make_store(state, path, "user", "time").append(TRAIN)
    with closing(sqlite3.connect(path)) as old:
        for statement in (
            "DROP TRIGGER changed",
            "DROP TABLE former",
            'DROP INDEX "by past.change"',
            'ALTER TABLE events DROP COLUMN "past.change"',
            'CREATE INDEX "by user" ON events (user)',
        ):
            old.execute(statement)
        old.commit()
    before = path.read_bytes()
    with pytest.raises(StateError, match="other columns"):
        make_store(state, path)
    assert path.read_bytes() == before
    opened = [make_store(state, path, "user", "time") for _ in range(2)]
    past = LivePast(opened[0], state)
    assert stored(opened[0]).equals(TRAIN.select(list(opened[0].columns)))
    assert opened[0].append(TRAIN) == 0
    assert opened[1].append(TRAIN.with_columns(known=pl.col("time") + SECOND)) == len(TRAIN)
    assert opened[0].append(frame([{"user": "b", "item": 1, "time": 5 * SECOND}])) == 1
    check(past, opened[0], state)
