"""What one row costs the service's past, in CPU, when its item has a share of all events; and what
the events cost: the file, the load of a history, the start."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figure import Figure, limited
from benchmarks.logs import Size
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import Transform
from fulcrum.features.values.duration import to_microseconds
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.event_store import EventStore, open_store
from fulcrum.serving.http.live_past import LivePast
from fulcrum.testing.specs import learn

SHARE = 0.05
"""Of the events, that the hot item has."""
HOT, COLD = 0, 1
MILLISECONDS = 5
"""Aim for a row of the hot item."""
LATENESS = "1h"
"""Of events that are a second apart."""
START = 1_700_000_000_000
ROWS = 100
"""Asked one by one in each round."""
DATA = {"time": {"column": "time_ms", "unit": "ms"}, "outcomes": ["click", "play"]}
FEATURES: dict[str, Any] = {
    "item": {"kind": "categorical"},
    "seen": {"kind": "window", "key": "item", "statistic": "count"},
    "clicked": {"kind": "window", "key": "item", "statistic": "rate", "where": "click = 1"}
    | {"over": "1d", "smoothing": 20},
    "played": {"kind": "window", "key": "item", "statistic": "mean", "value": "play", "over": "1h"},
    "by": {"kind": "window", "key": "user", "statistic": "rate", "where": "click = 1"},
    "viewed": {"kind": "history", "key": "user", "length": 50, "attributes": ["item"]},
    "besides": {"kind": "history", "key": "item", "length": 50, "attributes": ["item"]},
}


def measure(folder: Path, size: Size) -> list[Figure]:
    """A row of the hot item beside one of another; the median of as many rounds as `size` has."""
    log = make_log(size)
    state = learn(log.head(min(size.rows, 2**15)), FEATURES, data=DATA)
    path, file = folder / "hot_key.db", folder / "hot_key.parquet"
    log.write_parquet(file)
    store = open_store([state], ServingConfig(), path)
    assert store is not None
    with closing(store):
        parts = log.select(list(store.columns)).iter_slices(50_000)
        load = _cpu_seconds(lambda: store.load(file, parts))
        used = sum(part.stat().st_size for part in folder.glob(f"{path.name}*"))
        starts = [_start(store, state, lateness) for lateness in (LATENESS, None)]
        past, transform = LivePast(store, state), Transform(state)
        last = log["time_ms"][-1]

        def ask(item: int) -> float:
            row = pl.DataFrame({"user": [0], "item": [item], "time_ms": [last + 1000]})
            return _cpu_seconds(lambda: [transform(row, past.gathered()) for _ in range(ROWS)])

        ask(HOT)
        rounds = [(ask(HOT), ask(COLD)) for _ in range(size.rounds)]
        hot, cold = (1000 / ROWS * median(seconds) for seconds in zip(*rounds, strict=True))
        ratio = median(other / one for one, other in rounds)
        posted = [_post(store, past, last + place) for place in range(10)]
    count = f"{log.filter(pl.col('item') == HOT).height:,} of {len(log):,} events"
    return [
        limited("a row of a hot item", f"{hot:.2f} ms", MILLISECONDS / hot, f"{MILLISECONDS} ms"),
        Figure("the same", count, ratio, "a row of another item", 0.8, f"{cold:.2f} ms"),
        Figure("an event of it, until it is in the answers", f"{1000 * median(posted):.1f} ms"),
        Figure("a history into the store", f"{1e6 * load / len(log):.1f} µs an event"),
        Figure("the store", f"{used / len(log):.0f} B an event"),
        *(
            Figure(f"the start, {what}", f"{seconds:.1f} s", spread=f"holds {held / 2**20:.0f} MiB")
            for what, (seconds, held) in zip(
                (f"allowed lateness {LATENESS}", "all events held"), starts, strict=True
            )
        ),
    ]


def make_log(size: Size) -> pl.DataFrame:
    """An event each second; a user has a thousand of the full size, and so has an item."""
    random = np.random.default_rng(0)
    keys = max(2, size.values // 100)
    items = random.integers(COLD, keys, size.rows)
    items[random.random(size.rows) < SHARE] = HOT
    return pl.DataFrame(
        {
            "user": random.integers(0, keys, size.rows),
            "item": items,
            "time_ms": START + 1000 * np.arange(size.rows),
            "click": random.integers(0, 2, size.rows).astype(np.int8),
            "play": random.lognormal(size=size.rows),
        }
    )


def _start(store: EventStore, state: FeatureState, lateness: str | None) -> tuple[float, int]:
    """Seconds of CPU, and bytes of the sorted events that the past holds then."""
    microseconds = None if lateness is None else to_microseconds(lateness)
    pasts: list[LivePast] = []
    seconds = _cpu_seconds(lambda: pasts.append(LivePast(store, state, microseconds)))
    nobody = pl.Series([None], dtype=pl.String), pl.Series([None], dtype=pl.Int64)
    sizes = [
        past.ask(*nobody, lambda standing: {"bytes": standing.events.estimated_size()})["bytes"]
        for past in pasts[0].gathered().values()
    ]
    return seconds, sum(sizes)


def _post(store: EventStore, past: LivePast, moment: int) -> float:
    event = pl.DataFrame(
        {"user": [0], "item": [HOT], "time_ms": [moment], "click": [1], "play": [1.0]}
    )
    return _cpu_seconds(lambda: (store.append(event), past.gathered()))


def _cpu_seconds(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
