"""Outcomes that are known later: nothing sees them sooner, offline and online alike."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import DataError
from fulcrum.features.prepared.prepare import PreparedDataset, prepare
from fulcrum.features.spec import Clock, FeatureSpec, problems
from fulcrum.features.transform.fit import fit
from fulcrum.testing.kinds import encode_online, examples
from fulcrum.testing.logs import SCHEMA, SECOND, Event, events
from fulcrum.testing.specs import encode, make_spec
from tests.features.files.logs import write

AFTER, AT = {"known_after": "1.5s"}, {"known_at": "known"}
BOTH = AFTER | AT
FEATURES: dict[str, Any] = {
    "item": {"kind": "categorical"},
    "shown": {"kind": "window", "key": "user", "statistic": "count"},
    "clicks": {
        "kind": "window",
        "key": "user",
        "statistic": "count",
        "where": "good",
        "over": "3s",
    },
    "ctr": {"kind": "window", "key": "user", "statistic": "rate", "where": "click = 1"},
    "liked": {"kind": "history", "key": "user", "where": "good", "attributes": ["item"]},
}
COUNTS = ("shown", "clicks", "ctr")

Log = list[Event]


def spec_of(known: dict[str, str], **data: Any) -> FeatureSpec:
    data = {"outcomes": {"click": known, "play": {}}, "derive": {"good": "click = 1"}} | data
    features = {
        name: feature | ({"encode": {"transform": "raw"}} if name in COUNTS else {})
        for name, feature in FEATURES.items()
    }
    data["time"] = {"column": "time", "unit": "us", "earliest": "1970-01-01"}
    return make_spec(features, data, {"click": {"kind": "binary", "label": "good"}})


@st.composite
def logs(draw: st.DrawFn, size: int = 12) -> Log:
    """Events with a time at which their click was known, now and then before them, or never."""
    log = draw(st.lists(events(), min_size=1, max_size=size))
    known = st.none() | st.integers(0, 20).map(lambda half: half * SECOND // 2)
    return [event | {"known": draw(known)} for event in log]


def frame(log: Log) -> pl.DataFrame:
    return pl.DataFrame(log, schema={**SCHEMA, "known": pl.Int64})


def known(event: Event, setting: dict[str, str], settled: bool = False) -> int | None:
    """When its click was known; `settled`: no sooner than that there is none would be."""
    after = int(event["time"]) + 3 * SECOND // 2
    at = None if event["known"] is None else max(event["known"], event["time"])
    if setting == AT:
        return at
    if setting == AFTER or at is None:
        return after
    return max(at, after) if settled else at


def known_before(
    row: Event, log: Log, setting: dict[str, str], settled: bool = False
) -> list[tuple[int, Event]]:
    """Events of the row's user whose click was known before the row, with when."""
    same = [event for event in log if row["user"] and event["user"] == row["user"]]
    times = [(known(event, setting, settled), event) for event in same]
    return [(at, event) for at, event in times if at is not None and at < row["time"]]


@pytest.mark.parametrize("setting", [AFTER, AT, BOTH])
@examples(12)
@given(log=logs())
def test_an_event_counts_from_when_its_outcome_was_known(setting: dict[str, str], log: Log) -> None:
    state = fit(frame(log).lazy(), frame(log).lazy(), spec_of(setting))
    encoded = encode(frame(log), state, frame(log))
    items = encode(frame(log), state)["item"]
    ids = {event["item"]: number for event, number in zip(log, items, strict=True)}
    for row, values in zip(log, encoded.iter_rows(named=True), strict=True):
        past = known_before(row, log, setting)
        good = [(at, event) for at, event in past if event["click"] == 1]
        same = [e for e in log if row["user"] and e["user"] == row["user"]]
        assert values["shown"] == sum(event["time"] < row["time"] for event in same)
        assert values["clicks"] == sum(at >= row["time"] - 3 * SECOND for at, _ in good)
        settled = [event for _, event in known_before(row, log, setting, settled=True)]
        clicks = [event for event in settled if event["click"] == 1]
        assert values["ctr"] == pytest.approx(len(clicks) / len(settled) if settled else 0.0)
        order = sorted((at, ids[event["item"]]) for at, event in good)
        assert values["liked.item"] == [number for _, number in order]


@pytest.mark.parametrize("setting", [AFTER, AT, BOTH])
@examples(12)
@given(log=logs(), data=st.data())
def test_what_is_not_known_yet_changes_nothing(
    setting: dict[str, str], log: Log, data: st.DataObject
) -> None:
    """Every click that is known at second 4 or later may be another one, up to then."""
    now = 4 * SECOND
    clicks = st.none() | st.integers(0, 1)
    other = [
        event | ({} if (at := known(event, setting)) is not None and at < now else {"click": click})
        for event in log
        for click in [data.draw(clicks)]
    ]
    state = fit(frame(log).lazy(), frame(log).lazy(), spec_of(setting))
    rows = frame([event for event in log if event["time"] <= now])
    past, changed = (encode(rows, state, frame(events)) for events in (log, other))
    assert_frame_equal(past, changed, check_exact=True)


@pytest.mark.parametrize("setting", [AFTER, AT, BOTH])
@examples(10)
@given(log=logs(8))
def test_online_is_as_offline(setting: dict[str, str], log: Log) -> None:
    state = fit(frame(log).lazy(), frame(log).lazy(), spec_of(setting))
    offline = encode(frame(log), state, frame(log))
    online = encode_online(frame(log), state, ("click", "play", "known"))
    assert_frame_equal(online, offline, check_exact=True)


def prepared(folder: Path, known: dict[str, str]) -> PreparedDataset:
    """A row a second, ten in all, the last one at second 9; click 1 in every second row; known
    three seconds later, but for the third one, of which that never was."""
    log = pl.DataFrame(
        {
            "user": ["ann"] * 10,
            "time": [second * SECOND for second in range(10)],
            "item": [1] * 10,
            "click": [0, 1] * 5,
            "play": [0.0] * 10,
            "known": [None if s == 2 else (s + 3) * SECOND for s in range(10)],
        }
    )
    log.write_parquet(folder / "log.parquet")
    data = {
        "events": str(folder / "log.parquet"),
        "split": {"kind": "order", "valid": 0, "test": 0},
    }
    return prepare(spec_of(known, **data), folder)


@pytest.mark.parametrize(
    ("known", "never"), [({"known_after": "3s"}, []), (AT, [2]), (AT | {"known_after": "3s"}, [])]
)
def test_a_label_that_is_not_known_when_the_log_ends_is_not_observed(
    tmp_path: Path, known: dict[str, str], never: list[int]
) -> None:
    dataset = prepared(tmp_path, known)
    rows = pl.read_parquet(dataset.shards("train"))
    ripe = [second + 3 <= 9 and second not in never for second in range(10)]
    assert rows["observed.click"].to_list() == ripe
    clicks = [second % 2 for second in range(10) if ripe[second]]
    assert rows["label.click"].sum() == sum(clicks)
    assert dataset.state.layout.tasks[0].rate == pytest.approx(sum(clicks) / len(clicks))


def test_at_once_is_as_a_list(tmp_path: Path) -> None:
    plain, late = (
        fit(frame([]).lazy(), frame([]).lazy(), spec_of({}, outcomes=outcomes)).spec
        for outcomes in (["click"], {"click": {}})
    )
    assert plain.clocks == late.clocks == plain.unripe == late.unripe == {}
    assert spec_of(AFTER).clocks == dict.fromkeys(("clicks", "ctr", "liked"), Clock(("click",)))
    assert spec_of(AFTER).unripe == {"click": ("click",)}


def test_smoothing_leans_on_what_was_known(tmp_path: Path) -> None:
    features = FEATURES | {"ctr": FEATURES["ctr"] | {"smoothing": 10}}
    log = [
        {"user": "ann", "time": second * SECOND, "item": 1, "click": int(second < 2)}
        for second in range(4)
    ]
    data = {"outcomes": {"click": {"known_after": "2s"}}, "derive": {"good": "click = 1"}}
    spec = make_spec(
        features, data | {"time": {"column": "time", "unit": "us", "earliest": "1970-01-01"}}
    )
    assert fit(frame(log).lazy(), frame(log).lazy(), spec).bases == {"ctr": 2 / 2}


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"time": None, "split": {"kind": "order"}}, "data.outcomes", "needs `data.time`"),
        ({}, "features.known.column", "reads the outcome `known`"),
    ],
)
def test_what_cannot_be_is_refused(data: dict[str, Any], path: str, message: str) -> None:
    document = spec_of(AT).model_dump()
    document["features"] = {"known": {"kind": "numeric"}}
    document["data"] |= data
    messages = {".".join(map(str, p.path)): p.message for p in problems(FeatureSpec(**document))}
    assert message in messages[path]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ("soon", "'soon'; expected a time in ISO 8601"),
        (10**15, r"1000000000000000, which in `s` .*; in `us` it would be 2001-09-09"),
    ],
)
def test_a_time_that_is_none_is_told(tmp_path: Path, known: object, reason: str) -> None:
    log = frame([{"user": "a", "time": 1, "item": 1, "click": 1}] * 9)
    log.with_columns(known=pl.lit(known)).write_parquet(tmp_path / "log.parquet")
    data = {"events": str(tmp_path / "log.parquet")}
    spec = spec_of(AT, **data)
    time = spec.data.time.model_copy(update={"unit": "s"})
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"time": time})})
    place = r"data\.outcomes\.click\.known_at: column `known` holds "
    with pytest.raises(DataError, match=place + reason):
        prepare(spec, tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("never", [None, math.nan])
def test_a_file_may_have_no_outcome_that_was_known(
    tmp_path: Path, suffix: str, never: object
) -> None:
    log = pl.DataFrame(
        {
            "user": ["a"] * 4,
            "time": [SECOND * n for n in range(4)],
            "item": [1] * 4,
            "click": [1, 0] * 2,
            "play": [0.0] * 4,
        }
    )
    known = log.with_columns(known=pl.col("time"))
    write(log.with_columns(known=pl.lit(never)), tmp_path / f"a.{suffix}")
    write(known, tmp_path / f"b.{suffix}")
    split = {"kind": "order", "valid": 0, "test": 0}
    dataset = prepare(spec_of(AT, events=str(tmp_path / f"*.{suffix}"), split=split), tmp_path)
    rows = pl.concat(map(pl.read_parquet, dataset.shards("train")))
    assert rows["observed.click"].to_list() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("field", ["outcomes", "known_before"])
def test_a_name_of_no_column_is_refused(tmp_path: Path, field: str) -> None:
    frame([{"user": "a", "time": 1, "item": 1, "click": 1}]).write_parquet(tmp_path / "a.parquet")
    data = {"events": str(tmp_path / "a.parquet"), "outcomes": ["click"]} | {field: ["clicc"]}
    with pytest.raises(DataError, match=f"data.{field}: there is no column `clicc`; .* `click`"):
        prepare(make_spec({"item": {"kind": "categorical"}}, data), tmp_path)


def test_the_time_of_an_outcome_tells_the_outcome() -> None:
    spec = spec_of(AT, derive={"good": "known IS NOT NULL"})
    assert spec.clocks == dict.fromkeys(("clicks", "liked"), Clock(("click",))) | {
        "ctr": Clock(("click",))
    }
    assert spec.unripe == {"click": ("click",)}
