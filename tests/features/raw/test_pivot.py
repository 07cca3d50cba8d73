"""Long logs against plain Python: what belongs to an impression, and from when it counts."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import DataError
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.raw.pivot import pivot
from fulcrum.features.spec import FeatureSpec, problems
from fulcrum.features.transform.fit import fit
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.event_store import open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.testing.kinds import examples
from fulcrum.testing.specs import encode, make_spec

SECOND = 1_000_000
WITHIN = 3 * SECOND
SCHEMA = {
    "user": pl.String,
    "time": pl.Int64,
    "item": pl.Int64,
    "author": pl.String,
    "event": pl.String,
    "stars": pl.Float64,
}
PIVOT: dict[str, Any] = {
    "action": "event",
    "impression": ["view", "autoplay"],
    "by": ["user", "item"],
    "within": "3s",
    "behaviours": {
        "liked": "like",
        "kept": ["like", "follow"],
        "rated": {"action": "rate", "value": "stars"},
    },
}
RAW = {"encode": {"transform": "raw"}}
FEATURES: dict[str, Any] = {
    "item": {"kind": "categorical"},
    "shown": {"kind": "window", "key": "user", "statistic": "count", **RAW},
    "likes": {
        "kind": "window",
        "key": "user",
        "statistic": "count",
        "where": "liked = 1",
        "over": "4s",
        **RAW,
    },
    "kept_rate": {
        "kind": "window",
        "key": "item",
        "statistic": "rate",
        "where": "kept = 1",
        **RAW,
    },
    "stars": {"kind": "window", "key": "author", "statistic": "mean", "value": "rated", **RAW},
    "liking": {"kind": "history", "key": "user", "where": "liked = 1", "attributes": ["item"]},
}
TASKS = {"like": {"kind": "binary", "label": "liked"}}
ACTIONS = {
    "liked": ("like",),
    "kept": ("like", "follow"),
    "rated": ("rate",),
}

Event = dict[str, Any]
Log = list[Event]

OFTEN = ["view", "view", "view", "view", "like", "like", "rate", "rate"]
events: st.SearchStrategy[Event] = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["ann", "ann", "ann", "bob", "", None]),
        "time": st.integers(4, 24).map(lambda half: half * SECOND // 2),
        "item": st.sampled_from([0, 0, 0, 1, None]),
        "author": st.sampled_from(["x", "x", "y", None]),
        "event": st.sampled_from([*OFTEN, "autoplay", "follow", "scroll", "", None]),
        "stars": st.sampled_from([1.0, 4.0, 5.0, float("nan"), None]),
    }
)
logs = st.lists(events, min_size=8, max_size=24)
"""Most of what happens is one user's with one item, so that much belongs together."""


def event(time: float, what: str, user: str | None = "eve", **rest: Any) -> Event:
    base = {"user": user, "time": int(time * SECOND), "item": 9, "author": "z", "stars": 2.0}
    return base | {"event": what} | rest


COMPLETE = [
    *(event(0, what) for what in ("view", "like", "follow", "rate")),
    event(0, "autoplay", user="flo"),
    event(40, "scroll"),
]
"""Every action, labels of both classes, and an end behind all that is drawn."""


def frame(log: Log) -> pl.DataFrame:
    return pl.DataFrame(log, schema=SCHEMA)


def impressions(log: Log) -> Log:
    return [one for one in log if one["event"] in ("view", "autoplay")]


def spec_of(pivot: dict[str, Any] | None = None, **data: Any) -> FeatureSpec:
    time = {"column": "time", "unit": "us", "earliest": "1970-01-01"}
    data = {"time": time, "pivot": PIVOT | (pivot or {})} | data
    return make_spec(FEATURES, data, TASKS)


def fitted(log: Log) -> FeatureState:
    return fit(frame(log).lazy(), frame(log).lazy(), spec_of())


@cache
def state() -> FeatureState:
    """Taught by a log with every item, written down and read again."""
    made = fitted([*COMPLETE, *(event(1, "view", item=item) for item in (0, 1))])
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder))
        return FeatureState.load(Path(folder))


def belongs(later: Event, row: Event, log: Log) -> bool:
    """Whether a behaviour is that of an impression."""
    tie = later["user"], later["item"]
    before = [
        one["time"]
        for one in impressions(log)
        if (one["user"], one["item"]) == tie and one["time"] <= later["time"]
    ]
    return (
        bool(later["user"])
        and later["item"] is not None
        and (row["user"], row["item"]) == tie
        and bool(before)
        and row["time"] == max(before)
        and later["time"] - row["time"] <= WITHIN
    )


def outcome(name: str, row: Event, log: Log) -> tuple[Any, int | None]:
    """Value and time of a behaviour."""
    if not row["user"] or row["item"] is None:
        return None, None
    own = [one for one in log if one["event"] in ACTIONS[name] and belongs(one, row, log)]
    if name == "rated":
        own = [one for one in own if one["stars"] is not None and one["stars"] == one["stars"]]
    if not own:
        return (None if name == "rated" else 0), None
    first = min(one["time"] for one in own)
    return (1 if name != "rated" else max(o["stars"] for o in own if o["time"] == first)), first


def pasts(key: str, row: Event, log: Log) -> Log:
    same = [one for one in impressions(log) if one[key] == row[key]]
    return same if row[key] not in (None, "") else []


@examples(60)
@given(log=logs)
def test_a_row_has_what_plain_python_says(log: Log) -> None:
    rows = pivot(frame(log).lazy(), spec_of().data).rows.collect()
    assert_frame_equal(rows.select(*SCHEMA), frame(impressions(log)))
    for row, made in zip(impressions(log), rows.iter_rows(named=True), strict=True):
        for name in ACTIONS:
            assert (made[name], made[f"{name}_at"]) == outcome(name, row, log)


@examples(30)
@given(log=logs)
def test_features_see_a_behaviour_from_its_time(log: Log) -> None:
    log = COMPLETE + log
    rows = impressions(log)
    encoded = encode(frame(rows), state(), frame(log))
    ids = dict(zip([row["item"] for row in rows], encoded["item"], strict=True))
    for row, values in zip(rows, encoded.iter_rows(named=True), strict=True):
        now, mine = row["time"], pasts("user", row, log)
        assert values["shown"] == sum(one["time"] < now for one in mine)
        times = [(outcome("liked", one, log)[1], ids[one["item"]]) for one in mine]
        liked = [(at, item) for at, item in times if at is not None and at < now]
        assert values["likes"] == sum(at >= now - 4 * SECOND for at, _ in liked)
        assert values["liking.item"] == [one for _, one in sorted(liked)]
        settled = [e for e in pasts("item", row, log) if e["time"] + WITHIN < now]
        kept = [e for e in settled if outcome("kept", e, log)[0] == 1]
        assert values["kept_rate"] == pytest.approx(len(kept) / len(settled) if settled else 0)
        theirs = [e for e in pasts("author", row, log) if e["time"] + WITHIN < now]
        stars = [v for e in theirs if (v := outcome("rated", e, log)[0]) is not None]
        assert values["stars"] == pytest.approx(sum(stars) / len(stars) if stars else 0)


@examples(25)
@given(log=logs, data=st.data())
def test_what_comes_after_a_row_changes_nothing_in_it(log: Log, data: st.DataObject) -> None:
    """Behaviours and impressions at the time of a row or later go, move on, or come anew."""
    now = 6 * SECOND
    later = [one | {"time": one["time"] + now} for one in data.draw(logs)]
    other = COMPLETE + [one for one in log if one["time"] < now] + later
    log = COMPLETE + log
    rows = frame([row for row in impressions(log) if row["time"] <= now])
    one, another = (encode(rows, state(), frame(past)) for past in (log, other))
    assert_frame_equal(one, another, check_exact=True)


@examples(25)
@given(log=logs, data=st.data())
def test_order_and_repeats_of_behaviours_change_nothing(log: Log, data: st.DataObject) -> None:
    log = COMPLETE + log
    again = data.draw(st.lists(st.sampled_from([e for e in log if e not in impressions(log)])))
    shuffled = data.draw(st.permutations(log + again))
    rows = frame(impressions(log))
    one, another = (encode(rows, state(), frame(past)) for past in (log, shuffled))
    assert_frame_equal(one, another, check_exact=True)


@examples(8)
@given(log=logs)
def test_online_is_as_offline(log: Log) -> None:
    """Events are posted as they happen, and a row is asked about when what is earlier is there, and
    once more in the end. A behaviour is sent with nothing but what ties it, so a window by author
    cannot look for it."""
    log = COMPLETE + [one if one in impressions(log) else one | {"author": None} for one in log]
    log = frame(log).unique(maintain_order=True).to_dicts()
    offline = encode(frame(impressions(log)), state(), frame(log))
    store = open_store([state()], ServingConfig(), None)
    assert store is not None
    past = LivePast(store, state())
    places = list(enumerate(impressions(log)))

    def ask(now: int | None) -> None:
        for place, row in places:
            if now in (None, row["time"]):
                asked = frame([row]).drop("event", "stars")
                answer = encode(asked, state(), past.gathered())
                assert_frame_equal(answer, offline[[place]], check_exact=True)

    for now in sorted({one["time"] for one in log}):
        ask(now)
        for one in log:
            if one["time"] == now:
                assert store.append(frame([one])) == 1
    ask(None)
    store.close()


@examples(15)
@given(log=logs, data=st.data())
def test_preparing_is_as_scoring_with_history(log: Log, data: st.DataObject) -> None:
    """The log in files of any order; an impression and what belongs to it may be in several, and
    the rows of a file in several splits."""
    log = COMPLETE + log
    files: list[Log] = [[], [], []]
    for one in log:
        files[data.draw(st.integers(0, 2))].append(one)
    files = [data.draw(st.permutations(file)) for file in files]
    log = [one for file in files for one in file]
    deduplicate = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            frame(file).write_parquet(Path(folder) / f"{number}.parquet")
        split = {"kind": "order", "valid": 0, "test": 0}
        spec = spec_of(events=folder, split=split, deduplicate=deduplicate)
        prepared = prepare(spec, Path(folder) / "work")
        rows, history = pl.read_parquet(prepared.shards("train")), frame(log)
        if deduplicate:
            history = history.unique(maintain_order=True)
        asked = history.filter(pl.col("event").is_in(PIVOT["impression"]))
        scored = encode(asked, prepared.state, history)
    assert_frame_equal(rows.select(scored.columns), scored, check_exact=True)
    drops, known = prepared.manifest.rows_dropped, ["view", "autoplay", "like", "follow", "rate"]
    later = [one for one in log if one["event"] in known[2:]]
    joined = sum(any(belongs(one, row, log) for row in impressions(log)) for one in later)
    assert drops["joined to impressions"] == joined
    assert drops["without an impression"] == len(later) - joined
    assert drops["of other actions"] == sum(one["event"] not in known for one in log)
    assert prepared.manifest.rows_read == len(log) == len(rows) + sum(drops.values())
    end = max(one["time"] for one in log)
    for row, label, observed in zip(
        impressions(history.to_dicts()), rows["label.like"], rows["observed.like"], strict=True
    ):
        liked = outcome("liked", row, log)[0]
        assert observed == (liked is not None and row["time"] + WITHIN <= end)
        assert label == (liked if observed else 0)


@pytest.mark.parametrize(
    ("pivot", "data", "path", "message"),
    [
        ({"by": ["user", "time"]}, {}, "data.pivot.by.1", "`time` differs"),
        ({"by": ["event"]}, {}, "data.pivot.by.0", "`event` differs"),
        ({"by": ["user", "user"]}, {}, "data.pivot.by.1", "named twice"),
        ({"impression": "like"}, {}, "data.pivot.behaviours.liked", "`like` is an impression, too"),
        ({"behaviours": {"user": "like"}}, {}, "data.pivot.behaviours.user", "already a column"),
        (
            {"behaviours": {"a": "x", "a_at": "y"}},
            {},
            "data.pivot.behaviours.a",
            "`a_at` is already",
        ),
        ({"behaviours": {"a b": "like"}}, {}, "data.pivot.behaviours.a b", "letters, digits"),
        ({"behaviours": {"row": "like"}}, {}, "data.pivot.behaviours.row", "no reserved name"),
        ({}, {"outcomes": ["liked"]}, "data.outcomes", "`liked` is one by `data.pivot`"),
        ({}, {"derive": {"item": "1"}}, "data.pivot.by.1", "`item` is derived"),
        ({}, {"derive": {"time": "1"}}, "data.time.column", "`time` is derived"),
        ({}, {"time": None}, "data.pivot", "needs `data.time`"),
        ({}, {"keys": ["liked"]}, "data.keys.0", "reads the outcome `liked`"),
        ({}, {"keys": ["kept_at"]}, "data.keys.0", "reads the outcome `kept_at`"),
    ],
)
def test_what_cannot_be_is_refused(
    pivot: dict[str, Any], data: dict[str, Any], path: str, message: str
) -> None:
    faults = problems(spec_of(pivot, **data))
    assert message in next(fault.message for fault in faults if str(fault).startswith(f"{path}: "))


@pytest.mark.parametrize(
    ("pivot", "place"),
    [
        ({"within": "0s"}, "within"),
        ({"within": "soon"}, "within"),
        ({"within": None}, "within"),
        ({"behaviours": {}}, "behaviours"),
        ({"behaviours": {"liked": []}}, r"behaviours\.liked"),
        ({"behaviours": {"liked": {"value": "stars"}}}, r"behaviours\.liked\.action"),
        ({"by": []}, "by"),
        ({"impression": []}, "impression"),
    ],
)
def test_a_declaration_lacks_nothing(pivot: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.pivot\.{place}"):
        spec_of(pivot)


@pytest.mark.parametrize(
    ("pivot", "message"),
    [
        ({"action": "evnt"}, r"pivot\.action: .* no column `evnt` .*did you mean `event`\?"),
        ({"by": ["user", "itm"]}, r"pivot\.by\.1: .* no column `itm` .*did you mean `item`\?"),
        ({"by": ["user", "tags"]}, r"pivot\.by\.1: column `tags` is List\(String\); expected ids"),
        (
            {"behaviours": {"told": {"action": "like", "value": "author"}}},
            r"behaviours\.told\.value: column `author` is String; expected numbers",
        ),
        ({"behaviours": {"tags": "like"}}, r"behaviours\.tags: `tags` is already a column"),
        ({"behaviours": {"noted": "like"}}, r"behaviours\.noted: `noted_at` is already a column"),
        ({"behaviours": {"liked": "lke"}}, r"liked: no row has `lke` .*did you mean `like`\?"),
        (
            {"impression": "shown"},
            r"impression: no row has `shown` in `event`; there is `autoplay`",
        ),
    ],
)
def test_a_log_of_another_make_is_refused(
    tmp_path: Path, pivot: dict[str, Any], message: str
) -> None:
    log = frame(COMPLETE).with_columns(tags=pl.lit(["a"]), noted_at=1)
    log.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=message):
        prepare(spec_of(pivot, events=str(tmp_path / "log.parquet")), tmp_path)


@pytest.mark.parametrize("time", [None, 10**18])
def test_a_behaviour_without_a_time_is_refused(tmp_path: Path, time: int | None) -> None:
    frame([*COMPLETE, event(1, "like") | {"time": time}]).write_parquet(tmp_path / "log.parquet")
    spec = spec_of(events=str(tmp_path / "log.parquet"))
    with pytest.raises(DataError, match="1000000000000000000" if time else "1 rows have no time"):
        prepare(spec, tmp_path)


@pytest.mark.parametrize("dtype", [pl.Duration, pl.Boolean, pl.Float32])
def test_a_column_of_another_type_than_times_is_refused(
    tmp_path: Path, dtype: type[pl.DataType]
) -> None:
    log = frame(COMPLETE).with_columns(pl.lit(1).cast(dtype).alias("time"))
    log.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"data\.time: column `time` is .*expected whole numbers"):
        prepare(spec_of(events=str(tmp_path / "log.parquet")), tmp_path)


def test_actions_may_be_numbers() -> None:
    pivoted = {"impression": 1, "behaviours": {"liked": 2, "kept": [2, 3]}}
    numbers = {"view": 1, "autoplay": 7, "like": 2, "follow": 3, "rate": 4, "scroll": None}
    log = frame(COMPLETE)
    log = log.with_columns(pl.col("event").replace_strict(numbers, return_dtype=pl.Int64))
    data = spec_of(pivoted).data
    rows = pivot(log.lazy(), data).rows.collect()
    assert rows["liked", "kept"].rows() == [(1, 1)]


def test_a_like_in_the_file_of_another_split_is_a_like(tmp_path: Path) -> None:
    """A row's label is that of the whole log; what belongs to no impression of any file is told."""
    lone = event(30, "like", user="dan")
    files = {
        "train": [*COMPLETE, event(5, "view", user="ann")],
        "test": [event(6, "like", user="ann"), lone, *(one | {"item": 8} for one in COMPLETE)],
    }
    for name, log in files.items():
        frame(log).write_parquet(tmp_path / f"{name}.parquet")
    split = {"kind": "files", "test": str(tmp_path / "test.parquet")}
    prepared = prepare(spec_of(events=str(tmp_path / "train.parquet"), split=split), tmp_path)
    labels = pl.read_parquet(prepared.shards("train"))["label.like"]
    assert labels.to_list() == [1.0, 0.0, 1.0]
    assert prepared.manifest.rows_dropped["without an impression"] == 1


def test_a_log_shorter_than_a_behaviour_takes_is_told(tmp_path: Path) -> None:
    frame(COMPLETE).write_parquet(tmp_path / "log.parquet")
    split = {"kind": "order", "valid": 0, "test": 0}
    spec = spec_of({"within": "41s"}, events=str(tmp_path / "log.parquet"), split=split)
    with pytest.raises(DataError, match=r"no label is observed .* not known when the log ended"):
        prepare(spec, tmp_path)


def test_many_behaviours_without_an_impression_are_worth_a_line(tmp_path: Path) -> None:
    frame([*COMPLETE, *(event(9, "like", user="dan"),) * 3]).write_parquet(tmp_path / "l.parquet")
    split = {"kind": "order", "valid": 0, "test": 0}
    prepared = prepare(spec_of(events=str(tmp_path / "l.parquet"), split=split), tmp_path)
    [line] = [line for line in prepared.advice if "data.pivot" in line]
    assert "3 of 6 behaviours follow no impression" in line


def test_a_value_that_does_not_fit_is_told_by_its_row_in_the_log(tmp_path: Path) -> None:
    log = [one | {"author": "3"} for one in COMPLETE] + [event(1, "like"), event(2, "view")]
    frame(log).write_parquet(tmp_path / "log.parquet")
    data = {"derive": {"number": "CAST(author AS INTEGER)"}, "where": "number > 0"}
    with pytest.raises(DataError, match=rf"number: .*`z` in `author`.*\(row {len(log)} of .*log"):
        prepare(spec_of(events=str(tmp_path / "log.parquet"), **data), tmp_path)


def test_a_value_is_the_greatest_of_the_first_moment_that_has_one() -> None:
    rates = [(1, None), (1, float("nan")), (2, 3.0), (2, 4.0), (3, 5.0)]
    log = [event(0, "view"), *(event(at, "rate", stars=stars) for at, stars in rates)]
    rows = pivot(frame(log).lazy(), spec_of().data).rows.collect()
    assert rows["rated", "rated_at"].rows() == [(4.0, 2 * SECOND)]
