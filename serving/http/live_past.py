"""What the stored events are to a model, sorted in memory as the store has them by now."""

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import polars as pl

from fulcrum.features.kinds.lookback import evaluate_events, select_past
from fulcrum.features.past.events import ForgottenError
from fulcrum.features.past.growing import GrowingPast
from fulcrum.features.staging import full_disk
from fulcrum.features.transform.past import TIME, Gathered, clocks_of, complete_past, with_clocks
from fulcrum.features.transform.state import FeatureState
from fulcrum.serving.http.event_store import EventStore
from fulcrum.serving.scoring.history import EVENTS_IN_MEMORY

WHAT = "the stored events"
FEW, SHARE = 1_000, 30
"""Up to so many new events, or one for so many that are there, are added one by one; sorting all of
them again costs less for more."""
_NEVER = -1


class LivePast:
    """Follows an event store for one model. Safe to call from several threads."""

    def __init__(self, store: EventStore, state: FeatureState, lateness: int | None = None) -> None:
        """Sort all events, and keep what rows look back at that are dated no more than the
        `lateness` (microseconds) before the newest of them: see `GrowingPast`. Raises DataError
        when there is one that the model cannot read, and what reading the store does."""
        self._store, self._state, self._lateness = store, state, lateness
        self._selections = select_past(
            state.spec.looking_back, state.remembered, TIME, clocks_of(state)
        )
        pivot = state.spec.data.pivot
        self._by = () if pivot is None else pivot.by
        store.index(self._by)
        self._turn = threading.Lock()
        self._number = _NEVER
        """Of the last change that is in."""
        self._count = 0
        """Events at the start."""
        self._newest: int | None = None
        """Time of the newest event: of when it happened, not of when its outcomes were known, which
        may lie days ahead of all rows."""
        self._pasts: Gathered = {}
        self.gathered()

    def gathered(self) -> Gathered:
        """With every event that is stored by now. It grows from then on: each source by itself is
        always of one moment."""
        if self._number == _NEVER or self._store.count(self._number):
            with self._turn, full_disk(Path(gettempdir())):
                self._catch_up()
        return self._pasts

    def _catch_up(self) -> None:
        new = self._store.count(self._number)
        if self._number == _NEVER or new > max(FEW, self._count // SHARE):
            self._start()
        elif new:
            changes = self._store.changes(self._number, self._by)
            events = self._complete(changes.new.lazy()).collect().lazy()
            there = self._select(events)
            gone = [one.clear() for one in there]
            if not changes.gone.is_empty():
                gone = self._select(self._complete(changes.gone.lazy()).collect().lazy())
            # What breaks off in between is begun anew.
            self._number = _NEVER
            self._look_at(events)
            try:
                for past, before, after in zip(self._pasts.values(), gone, there, strict=True):
                    assert isinstance(past, GrowingPast)
                    past.change(before, after, self._horizon)
            except ForgottenError:  # The store has what it takes.
                self._start()
                return
            self._number = changes.number

    def _start(self) -> None:
        with TemporaryDirectory(prefix="fulcrum-events-") as name:
            with self._store.held() as held:
                folder = Path(name) if held.size > EVENTS_IN_MEMORY else None
                read = _read(held.frames, folder)
            events = self._complete(read)
            self._newest = None
            self._look_at(events)
            parts = math.ceil(held.size / EVENTS_IN_MEMORY) or 1
            self._pasts = {
                source: GrowingPast(
                    selection,
                    events,
                    parts,
                    None if folder is None else folder / str(place),
                    self._horizon,
                )
                for place, (source, selection) in enumerate(self._selections.items())
            }
        self._number, self._count = held.number, held.size

    def _complete(self, events: pl.LazyFrame) -> pl.LazyFrame:
        complete = with_clocks(complete_past(events, self._state, WHAT), self._state)
        return evaluate_events(complete, self._state.spec.looking_back)

    def _select(self, events: pl.LazyFrame) -> list[pl.DataFrame]:
        """What each source keeps of complete events."""
        return pl.collect_all([one.of(events) for one in self._selections.values()])

    def _look_at(self, events: pl.LazyFrame) -> None:
        """Whether one of these complete events is the newest. One dated ahead counts as of now: a
        client whose clock is wrong would make the rows of all others too late."""
        if self._lateness is not None:
            now = time.time_ns() // 1_000
            newest = events.select(pl.col(TIME).max().clip(upper_bound=now)).collect().item()
            known = [at for at in (self._newest, newest) if at is not None]
            self._newest = max(known, default=None)

    @property
    def _horizon(self) -> int | None:
        """The time from which on rows are dated."""
        if self._lateness is None or self._newest is None:
            return None
        return self._newest - self._lateness


def _read(frames: Iterator[pl.DataFrame], folder: Path | None) -> pl.LazyFrame:
    """All of them, by way of a folder that has one."""
    if folder is None:
        return pl.concat(frames).lazy()
    for place, frame in enumerate(frames):
        frame.write_parquet(folder / f"{place:09}.parquet")
    return pl.scan_parquet(sorted(folder.glob("*.parquet")), glob=False)
