import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fulcrum.features.kinds.lookback import Recall, gather_past, look_back
from fulcrum.features.kinds.window import WindowConfig, base
from fulcrum.features.values import sql
from fulcrum.testing import plain
from fulcrum.testing.kinds import Log, LookBackContract
from fulcrum.testing.logs import SECOND, Event, frame, logs, past_of

CLICKED = "click = 1"


class TestWindow(LookBackContract):
    name = "shown"

    def document(self) -> dict[str, Any]:
        return {"kind": "window", "key": "user", "statistic": "count"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        counts = ([len(past_of(row, events)) for row in events] for events in (train, log))
        return plain.dense("shown", *counts)

    def absent(self, row: Event, log: Log) -> bool:
        return False


class TestWindowOfSome(LookBackContract):
    """A mean, which a row without events that have a number lacks."""

    name = "played"

    def document(self) -> dict[str, Any]:
        return {"kind": "window", "key": "user", "statistic": "mean", "value": "play"}

    def reference(self, train: Log, log: Log) -> Mapping[str, Sequence[Any]]:
        means = ([_mean(row, events) for row in events] for events in (train, log))
        return plain.dense("played", *means)

    def absent(self, row: Event, log: Log) -> bool:
        return _mean(row, log) is None


def _mean(row: Event, log: Log) -> float | None:
    plays = [event["play"] for event in past_of(row, log) if event["play"] is not None]
    plays = [play for play in plays if math.isfinite(play)]
    return sum(plays) / len(plays) if plays else None


def look(rows: list[Event], log: list[Event], config: WindowConfig, mean: float = 0.0) -> pl.Series:
    features = {"feature": config}
    past = gather_past(frame(log), features, {}, "time")
    seen = look_back(frame(rows), past, Recall(features, "time", {"feature": mean}))
    return seen.collect()["past.feature"]


def seen_by(row: Event, log: list[Event], seconds: float | None) -> list[Event]:
    since = -math.inf if seconds is None else row["time"] - seconds * SECOND
    return [event for event in past_of(row, log) if event["time"] >= since]


def expected(config: WindowConfig, events: list[Event], mean: float) -> float | None:
    chosen = [event for event in events if config.where is None or event["click"] == 1]
    plays = [event["play"] for event in chosen if event["play"] is not None]
    plays = [play for play in plays if math.isfinite(play)]
    part, whole = {
        "count": (len(chosen), None),
        "sum": (math.fsum(plays), None),
        "mean": (math.fsum(plays), len(plays)),
        "rate": (len(chosen), len(events)),
    }[config.statistic]
    if whole is None:
        return part
    if whole + config.smoothing == 0:
        return None
    return (part + config.smoothing * mean) / (whole + config.smoothing)


@st.composite
def configs(draw: st.DrawFn) -> WindowConfig:
    statistic = draw(st.sampled_from(["count", "sum", "mean", "rate"]))
    averaged, smoothed = statistic in ("sum", "mean"), statistic in ("mean", "rate")
    return WindowConfig(
        key="user",
        statistic=statistic,
        where=CLICKED if statistic == "rate" or draw(st.booleans()) else None,
        value="play" if averaged else None,
        over=draw(st.sampled_from([None, "1s", "2.5s", "1m"])),
        smoothing=draw(st.sampled_from([0.0, 0.5, 10.0])) if smoothed else 0.0,
    )


@given(configs(), logs, logs, st.floats(-1, 1))
def test_equals_brute_force(
    config: WindowConfig, rows: list[Event], log: list[Event], mean: float
) -> None:
    seconds = None if config.over is None else config.microseconds / SECOND
    result = look(rows, log, config, mean)
    brute = [expected(config, seen_by(row, log, seconds), mean) for row in rows]
    assert result.dtype == (pl.Int64 if config.statistic == "count" else pl.Float64)
    for value, wanted in zip(result, brute, strict=True):
        if wanted is None:
            assert value is None
        else:
            assert value == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_window_holds_its_start_and_not_its_end() -> None:
    log = [
        {"user": "ann", "time": second * SECOND, "click": click, "play": 10.0 * second}
        for second, click in [(0, 1), (1, 0), (2, 1), (3, 1)]
    ]
    row = [{"user": "ann", "time": 3 * SECOND}]

    def value(statistic: str, **rest: Any) -> float:
        config = WindowConfig(key="user", statistic=statistic, over="2s", **rest)
        return look(row, log, config, mean=0.75).item()

    assert value("count") == 2
    assert value("count", where=CLICKED) == 1
    assert value("sum", value="play") == 10.0 + 20.0
    assert value("mean", value="play / 10") == (1 + 2) / 2
    assert value("rate", where=CLICKED) == 1 / 2
    assert value("rate", where=CLICKED, smoothing=3) == (1 + 3 * 0.75) / (2 + 3)


@pytest.mark.parametrize(
    ("statistic", "rest", "without", "smoothed"),
    [
        ("count", {}, 0, None),
        ("sum", {"value": "play"}, 0.0, None),
        ("mean", {"value": "play"}, None, 0.3),
        ("rate", {"where": CLICKED}, None, 0.3),
    ],
)
def test_no_past(
    statistic: str, rest: dict[str, str], without: float | None, smoothed: float | None
) -> None:
    row = [{"user": "ann", "time": 0}]
    config = WindowConfig(key="user", statistic=statistic, **rest)
    assert look(row, row, config).to_list() == [without]
    if smoothed is not None:
        config = config.model_copy(update={"smoothing": 2.0})
        assert look(row, row, config, mean=smoothed).item() == pytest.approx(smoothed)


def test_a_sum_out_of_range_is_null() -> None:
    log = [{"user": "ann", "time": 0, "play": 1e308, "item": item} for item in (1, 2)]
    config = WindowConfig(key="user", statistic="sum", value="play")
    assert look([{"user": "ann", "time": 1}], log, config).to_list() == [None]


@given(logs)
def test_base_is_the_mean_of_the_training_events(log: list[Event]) -> None:
    rate = WindowConfig(key="user", statistic="rate", where=CLICKED)
    mean = WindowConfig(key="user", statistic="mean", value="play", where=CLICKED)
    log_frame = sql.evaluate(frame(log), {sql.value(t): t for t in (CLICKED, "play")})
    result = log_frame.select(rate=base(rate), mean=base(mean)).collect().row(0)
    clicks = [event for event in log if event["click"] == 1]
    plays = [e["play"] for e in clicks if e["play"] is not None and math.isfinite(e["play"])]
    assert result[0] == pytest.approx(len(clicks) / max(len(log), 1))
    assert result[1] == pytest.approx(math.fsum(plays) / max(len(plays), 1), rel=1e-9, abs=10)


@pytest.mark.parametrize(
    ("over", "seconds"),
    [("1s", 1), ("90m", 90 * 60), ("1.5h", 1.5 * 3600), ("7d", 7 * 86400), ("0.1s", 0.1)],
)
def test_over_is_a_number_and_a_unit(over: str, seconds: float) -> None:
    config = WindowConfig(key="user", statistic="count", over=over)
    assert config.microseconds == round(seconds * SECOND)


@pytest.mark.parametrize("over", ["", "7", "d", "7 d", "-7d", "7w", "1e3s", "0d", "36526d", "7d1h"])
def test_refuses_other_lengths(over: str) -> None:
    with pytest.raises(ValidationError, match="expected"):
        WindowConfig(key="user", statistic="count", over=over)


@pytest.mark.parametrize(
    ("statistic", "rest", "message"),
    [
        ("rate", {}, "'rate' needs `where`"),
        ("sum", {}, "'sum' needs `value`"),
        ("mean", {"where": CLICKED}, "'mean' needs `value`"),
        ("count", {"value": "play"}, "'count' takes no `value`"),
        ("rate", {"value": "play", "where": CLICKED}, "'rate' takes no `value`"),
        ("count", {"smoothing": 1}, "'count' takes no `smoothing`"),
        ("sum", {"value": "play", "smoothing": 1}, "'sum' takes no `smoothing`"),
    ],
)
def test_refuses_what_the_statistic_cannot_use(
    statistic: str, rest: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        WindowConfig(key="user", statistic=statistic, **rest)
