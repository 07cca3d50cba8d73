"""A time means one thing, whatever its type, in training, files, CSV, requests and the store.

Every cell of the matrix of (training type x given type x way in) is right or refused.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fulcrum.features.errors import DataError
from fulcrum.features.files.source import scan
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import transform
from fulcrum.features.transform.uses import past_reads, row_reads
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.event_store import EventStore, open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.serving.scoring.json_rows import parse_rows
from fulcrum.testing.specs import learn

FEATURES = {
    "events": {
        "kind": "window",
        "key": "user",
        "over": "3d",
        "statistic": "count",
        "encode": {"transform": "raw"},
    }
}
DAYS = [datetime(2022, 4, 6 + n, tzinfo=UTC) for n in range(6)]
# The three days before each row, of which there are at most this many.
COUNTS = [min(n, 3) for n in range(6)]

SECONDS = [int(day.timestamp()) for day in DAYS]
WALL_CLOCK = [day.replace(tzinfo=None) for day in DAYS]
BERLIN = pl.Datetime("us", "Europe/Berlin")
COLUMNS: dict[str, pl.Series] = {
    "int s": pl.Series(SECONDS),
    "int ms": pl.Series([t * 10**3 for t in SECONDS]),
    "int us": pl.Series([t * 10**6 for t in SECONDS]),
    "int ns": pl.Series([t * 10**9 for t in SECONDS]),
    "small int s": pl.Series(SECONDS, dtype=pl.UInt32),
    "float s": pl.Series(SECONDS, dtype=pl.Float64),
    "float ms": pl.Series([t * 1e3 for t in SECONDS]),
    "text": pl.Series([f"{t:%Y-%m-%dT%H:%M:%S}" for t in DAYS]),
    "text with zone": pl.Series([f"{t + timedelta(hours=2):%Y-%m-%d %H:%M}+02:00" for t in DAYS]),
    "text day": pl.Series([f"{t:%Y-%m-%d}" for t in DAYS]),
    "date": pl.Series([t.date() for t in DAYS]),
    "datetime ms": pl.Series(WALL_CLOCK, dtype=pl.Datetime("ms")),
    "datetime us": pl.Series(WALL_CLOCK, dtype=pl.Datetime("us")),
    "datetime ns": pl.Series(WALL_CLOCK, dtype=pl.Datetime("ns")),
    "utc": pl.Series(DAYS, dtype=pl.Datetime("us", "UTC")),
    "berlin": pl.Series(DAYS, dtype=BERLIN),
    "boolean": pl.Series([True, False] * 3),
    "duration": pl.Series([timedelta(seconds=t) for t in SECONDS]),
    "other text": pl.Series(["soon"] * 6),
    "other number": pl.Series([1, 2, 3, 4, 5, 6]),
    # Two minutes apart at best.
    "float32 s": pl.Series(SECONDS, dtype=pl.Float32),
}
NO_TIMES = ("boolean", "duration", "other text", "other number", "float32 s")
TRAINED = [name for name in COLUMNS if name not in NO_TIMES]
# A Boolean or a Duration in a CSV is text, a date-time is text in ISO 8601.
TEXTS = tuple(name for name in COLUMNS if name.startswith("text"))
CALENDAR = ("date", "datetime ms", "datetime us", "datetime ns", "utc", "berlin")


def unit(name: str) -> str | None:
    """In which unit a column of numbers counts."""
    *_, last = name.split()
    return last if COLUMNS[name].dtype.is_numeric() and name != "other number" else None


def log(times: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"user": ["ann"] * 6, "t": times, "click": pl.Series([1] * 6)})


def trained(name: str, **time: Any) -> FeatureState:
    settings = {"column": "t", "unit": unit(name), **time}
    return learn(log(COLUMNS[name]), FEATURES, data={"time": settings, "outcomes": ["click"]})


def counts(state: FeatureState, rows: pl.DataFrame, past: pl.DataFrame) -> list[float]:
    encoded = transform(rows, state, past.lazy())
    return encoded["events"].to_list()


def live_counts(state: FeatureState, rows: pl.DataFrame, store: EventStore) -> list[float]:
    past = LivePast(store, state).gathered()
    return transform(rows, state, past)["events"].to_list()


def read(file: Path, state: FeatureState) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and past, as `fulcrum score` opens a file."""
    rows = scan(str(file), "--input", row_reads(state)).frame.collect()
    return rows, scan(str(file), "--history", past_reads(state)).frame.collect()


def by_parquet(frame: pl.DataFrame, state: FeatureState, folder: Path) -> list[float]:
    frame.write_parquet(folder / "log.parquet")
    return counts(state, *read(folder / "log.parquet", state))


def by_csv(frame: pl.DataFrame, state: FeatureState, folder: Path) -> list[float]:
    durations = pl.selectors.duration().dt.to_string("iso")
    frame.with_columns(durations).write_csv(folder / "log.csv")
    return counts(state, *read(folder / "log.csv", state))


def by_request(frame: pl.DataFrame, state: FeatureState, folder: Path) -> list[float]:
    values = json_values(frame)
    rows = parse_rows(values, state.row_columns)
    return counts(state, rows, parse_rows(values, state.past_columns, "events"))


def by_store(frame: pl.DataFrame, state: FeatureState, folder: Path) -> list[float]:
    store = open_store([state], ServingConfig(), None)
    assert store is not None
    events = parse_rows(json_values(frame), store.columns, "events")
    assert store.append(events) == 6
    rows = parse_rows(json_values(frame), state.row_columns)
    return live_counts(state, rows, store)


def by_loaded_store(frame: pl.DataFrame, state: FeatureState, folder: Path) -> list[float]:
    """The store filled by `--history`, and rows from a file."""
    frame.write_parquet(folder / "log.parquet")
    store = open_store([state], ServingConfig(), None)
    assert store is not None
    assert store.load(folder / "log.parquet", [frame]) == 6
    return live_counts(state, frame, store)


def json_values(frame: pl.DataFrame) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        if isinstance(value, date):
            return value.isoformat()
        return str(value) if isinstance(value, timedelta) else value

    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dicts()]


WAYS: dict[str, Callable[[pl.DataFrame, FeatureState, Path], list[float]]] = {
    "parquet": by_parquet,
    "csv": by_csv,
    "request": by_request,
    "store": by_store,
    "loaded store": by_loaded_store,
}


def given_as(name: str, way: str) -> str:
    """What a column is by the time it is looked at."""
    spelled = way in ("csv", "request", "store")
    if name in CALENDAR and spelled:
        return "text"
    if name == "float32 s" and spelled:
        return "float s"
    return "other text" if name in ("boolean", "duration") and way == "csv" else name


def meant(train: str, name: str, way: str) -> bool:
    """Whether a column given in this way holds times to a model trained on `train`."""
    given = given_as(name, way)
    if given in NO_TIMES:
        return False
    if unit(train) is not None:
        same = unit(given) == unit(train)
        return same or (given in CALENDAR and way in ("parquet", "loaded store"))
    if train in TEXTS:
        return given in TEXTS
    return given in TEXTS or given in CALENDAR


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("train", TRAINED)
def test_every_cell_is_right_or_refused(train: str, way: str, tmp_path: Path) -> None:
    state = trained(train)
    assert counts(state, log(COLUMNS[train]), log(COLUMNS[train])) == COUNTS
    for name, times in COLUMNS.items():
        if meant(train, name, way):
            assert WAYS[way](log(times), state, tmp_path) == COUNTS, name
        else:
            with pytest.raises(DataError, match=r"\bt\b"):
                WAYS[way](log(times), state, tmp_path)


@pytest.mark.parametrize("train", CALENDAR)
def test_with_a_unit_numbers_are_times_too(train: str, tmp_path: Path) -> None:
    state = trained(train, unit="ms")
    for name in ("int ms", "float ms"):
        assert by_parquet(log(COLUMNS[name]), state, tmp_path) == COUNTS
    with pytest.raises(DataError, match="column `t`"):
        by_parquet(log(COLUMNS["int us"]), state, tmp_path)


NOON = [datetime(2022, 4, 6, 12, n) for n in range(6)]
"""What a clock in Berlin showed; a clock in UTC showed ten."""
WALL_CLOCKS = {
    "text": pl.Series([f"{t:%Y-%m-%d %H:%M}" for t in NOON]),
    "datetime": pl.Series(NOON, dtype=pl.Datetime("ms")),
    "zoned text": pl.Series([f"{t - timedelta(hours=2):%Y-%m-%dT%H:%M}Z" for t in NOON]),
    "zoned": pl.Series(NOON).dt.replace_time_zone("Europe/Berlin"),
    "utc": pl.Series([t - timedelta(hours=2) for t in NOON]).dt.replace_time_zone("UTC"),
}


@pytest.mark.parametrize("train", WALL_CLOCKS)
@pytest.mark.parametrize(("zone", "offset"), [("Europe/Berlin", 0), ("UTC", 2)])
def test_a_clock_without_a_zone_shows_one_time_everywhere(
    train: str, zone: str, offset: int, tmp_path: Path
) -> None:
    data = {"time": {"column": "t", "zone": zone}, "outcomes": ["click"]}
    state = learn(log(WALL_CLOCKS[train]), FEATURES, data=data)
    for (name, times), way in product(WALL_CLOCKS.items(), ("parquet", "csv", "request")):
        if train in ("text", "zoned text") and times.dtype.is_temporal() and way == "parquet":
            continue  # refused, as the matrix above shows
        # Without a zone, a row of 12 o'clock UTC lies behind all events of 12 o'clock in Berlin.
        late = offset if name in ("text", "datetime") else 0
        past = log(WALL_CLOCKS["zoned text"]) if "text" in train else log(WALL_CLOCKS["utc"])
        frame = log(times)
        if way == "csv":
            frame.write_csv(tmp_path / "log.csv")
            rows, _ = read(tmp_path / "log.csv", state)
        elif way == "request":
            rows = parse_rows(json_values(frame), state.row_columns)
        else:
            rows = frame
        seen = counts(state, rows, past)
        assert seen == ([6] * 6 if late else list(range(6))), (name, way)
