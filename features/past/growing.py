"""A past to which events are added, and from which they are taken, while rows ask it.

Every key has a block of places in an arena, with room behind its events. A new event is mostly the
latest of its key: it goes to the end, and the running sums go on. What lies behind an earlier one
is sorted and summed again. So every answer has the bits that `Past` gives for the same events.

With a horizon it forgets: of each key stay the events that a row from the horizon on can look back
at, and the last of those before, whose running sums all later ones go on from. So the answers keep
their bits; a row or an event that is older, and would need what is forgotten, is told so.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fulcrum.features.past.arena import Arena, is_number
from fulcrum.features.past.events import (
    ERROR,
    FIRST,
    KEY,
    LAST,
    TIME,
    VALUE,
    Columns,
    ForgottenError,
    Partition,
    Selection,
    Standing,
    count_before,
    rounding,
    sorted_parts,
    stand,
)
from fulcrum.features.past.shared_lock import SharedLock

SMALLEST_BLOCK = 4
"""Places of a key that gets its first event here; a block that is full moves to one of twice as
many."""
FEWEST = 1024
"""Places of which none is worth forgetting."""

Rows = list[np.ndarray]
"""Of some events: times [N], each column [N], then what is counted [C, N] and what is summed
[S, N]."""


class GrowingPast:
    """Answers like a `Past`. Safe to call from several threads."""

    def __init__(
        self,
        selection: Selection,
        events: pl.LazyFrame,
        partitions: int = 1,
        folder: Path | None = None,
        horizon: int | None = None,
    ) -> None:
        """Sort the events there are. With a `folder`, which may go then, one partition at a time is
        in memory, and all sorted events are in temporary files that need no care.

        `horizon` in microseconds: rows and events are dated from then on, so that what none of them
        looks back at is forgotten. None: nothing is."""
        self.key = selection.key
        self._reach = selection.reach
        self._lock = SharedLock()
        self._numbers: dict[Any, int] = {}
        """By key."""
        parts = sorted_parts(selection, events, partitions, folder, values=True)
        part = next(parts)
        self._dtype, schema = part.keys.schema[KEY], part.events.schema
        totals = sorted(selection.totals)
        self._columns = sorted(selection.columns)
        self._counts = [name for name in totals if not schema[name].is_float()]
        self._sums = [name for name in totals if schema[name].is_float()]
        self._errors = [name + ERROR for name in self._sums]
        self._summed = [name + VALUE for name in self._sums]
        names = [TIME, *self._columns, *self._counts, *self._sums, *self._errors, *self._summed]
        self._schema, self._mapped = {name: schema[name] for name in names}, folder is not None
        self._arena = Arena(self._schema, self._mapped)
        blocks = [self._take_over(part) for part in chain([part], parts)]
        self._blocks = np.concatenate(blocks, axis=1)
        """By number of a key: its first place, those behind its last event and behind its room; and
        how many are forgotten, of which the last one has the first place."""
        self._forgets = False
        """Whether it ever did."""
        self._looked_at = 0
        """Places that were taken when it was last seen what can be forgotten."""
        self._forget(horizon)

    def ask(
        self, keys: pl.Series, times: pl.Series, answer: Callable[[Standing], Columns]
    ) -> Columns:
        """`answer` for rows in any order; the result has their order."""
        wanted = keys.cast(self._dtype, strict=False).to_list()
        with self._lock.reading():
            number = np.fromiter(map(self._numbers.get, wanted, repeat(-1)), np.int64)
            first, last, _, gone = self._blocks
            events, arrays = self._arena.view()
            if not self._forgets:
                return answer(stand(events, arrays, number, first, last, times))
            return answer(stand(events, arrays, number, first, last, times, gone))

    def change(self, gone: pl.DataFrame, new: pl.DataFrame, horizon: int | None = None) -> None:
        """Take events out, each of which must be there, and add others; `horizon` as at the start.

        Both are collected from `Selection.of`; an event has no name but its content. Nobody sees
        the one without the other.

        Raises ForgottenError, and changes nothing, when one is not later than all that is forgotten
        of its key."""
        gone, new = _differing(gone, new)
        places: dict[Any, tuple[list[int], list[int]]] = {}
        for which, events in enumerate((gone, new)):
            for place, key in enumerate(events[KEY].to_list()):
                places.setdefault(key, ([], []))[which].append(place)
        rows, others = self._read(gone), self._read(new)
        changes = {key: (_taken(rows, a), _taken(others, b)) for key, (a, b) in places.items()}
        with self._lock.writing():
            for key, both in changes.items():
                self._check(key, *both)
            for key, both in changes.items():
                self._rewrite(self._block(key), *both)
            self._forget(horizon)

    def _check(self, key: Any, *changed: Rows) -> None:
        block = self._numbers.get(key)
        if block is not None and self._forgets:
            first, _, _, gone = self._blocks[:, block]
            if gone and _oldest(changed) <= self._arena[TIME][first]:
                raise ForgottenError("an event comes later than the allowed lateness")

    def _forget(self, horizon: int | None) -> None:
        """Move what rows from the horizon on look back at to an arena of its own, where that is at
        most half of what there is. Looks only when there is twice as much as last time."""
        used, count = self._arena.used, len(self._numbers)
        if self._reach is None or horizon is None or used < 2 * self._looked_at:
            return
        self._looked_at = max(used, FEWEST)
        first, last, _, gone = self._blocks[:, :count]
        there, times = first + (gone > 0), self._arena[TIME]
        old = count_before(times, there, last, np.full(count, horizon - self._reach.length))
        start = np.maximum(there, old - self._reach.last)
        gone = gone + start - there
        first = start - (gone > 0)
        size = last - first
        ends = np.cumsum(size)
        if not size.any() or 2 * ends[-1] > used:
            return
        arena = Arena(self._schema, self._mapped)
        places = np.repeat(first - ends + size, size) + np.arange(ends[-1])
        arena.take(len(places))
        for name in self._schema:
            arena.write(name, 0, self._arena[name][places])
        self._blocks[:, :count] = ends - size, ends, ends, gone
        self._arena, self._forgets = arena, True
        self._looked_at = max(len(places), FEWEST)

    def _block(self, key: Any) -> int:
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == self._blocks.shape[1]:
            more = np.zeros((4, max(1024, number)), np.int64)
            self._blocks = np.concatenate([self._blocks, more], axis=1)
        return number

    def _take_over(self, part: Partition) -> np.ndarray:
        """Number the keys of a partition and put its events into the arena; gives their blocks."""
        first = self._arena.take(len(part.events))
        for name in part.events.columns:
            self._arena.write(name, first, _values(part.events[name]))
        for number, key in enumerate(part.keys[KEY].to_list(), len(self._numbers)):
            self._numbers[key] = number
        bounds = part.keys.select(FIRST, LAST, pl.col(LAST).alias("end")).to_numpy().T + first
        return np.concatenate([bounds, np.zeros_like(bounds[:1])])

    def _read(self, events: pl.DataFrame) -> Rows:
        columns = [_values(events[name]) for name in (TIME, *self._columns)]
        for names in (self._counts, self._sums):
            totals = events.select(names).to_numpy().T if names else np.empty((0, len(events)))
            columns.append(totals)
        return columns

    def _rewrite(self, block: int, gone: Rows, new: Rows) -> None:
        """What a key has from the first of these events on."""
        first, last, end = self._blocks[:3, block].tolist()
        oldest = _oldest((gone, new))
        start = first + int(np.searchsorted(self._arena[TIME][first:last], oldest))
        rows = new
        if start < last:
            tail = self._content(first, start, last)
            if len(gone[0]):
                tail = _taken(tail, self._rest(tail, gone))
            rows = [np.concatenate(both, axis=-1) for both in zip(tail, new, strict=True)]
        if len(rows[0]) > 1:
            rows = _taken(rows, np.lexsort([*map(_sortable, reversed(self._order(rows)))]))
        until = start + len(rows[0])
        if until > end:
            moved = self._move(first, start, end, until - first)
            start, until, first = start + moved - first, until + moved - first, moved
            end = first + self._room(until - first)
        *columns, counts, sums = rows
        for name, values in zip((TIME, *self._columns), columns, strict=True):
            self._arena.write(name, start, values)
        self._go_on(self._counts, first, start, counts)
        if self._sums:
            with np.errstate(over="ignore", invalid="ignore"):
                running = self._go_on(self._sums, first, start, sums)
                error = rounding(running[:, :-1], sums, running[:, 1:])
                self._go_on(self._errors, first, start, error)
            self._arena.part(self._summed)[:, start:until] = sums
        self._blocks[:3, block] = first, until, end

    def _room(self, count: int) -> int:
        return max(SMALLEST_BLOCK, 1 << (count - 1).bit_length())

    def _move(self, first: int, start: int, end: int, count: int) -> int:
        """Events up to `start` to a block with room for `count`; gives its first place."""
        moved = self._arena.take(self._room(count))
        self._arena.copy(first, start, moved)
        if end > first:
            self._arena.give(first, end - first)
        return moved

    def _content(self, first: int, start: int, last: int) -> Rows:
        """A key's events from `start` on."""
        columns = [self._arena[name][start:last] for name in (TIME, *self._columns)]
        running = self._arena.part(self._counts)
        counts = np.diff(running[:, start:last], prepend=_before(running, first, start))
        return [*columns, counts, self._arena.part(self._summed)[:, start:last]]

    def _rest(self, rows: Rows, gone: Rows) -> np.ndarray:
        """Places of the rows that are left when each of those gone has taken one like it."""
        content, wanted = self._order(rows), self._order(gone)
        left = np.ones(len(rows[0]), bool)
        for place in range(len(gone[0])):
            like = left.copy()
            for values, other in zip(content, wanted, strict=True):
                like &= _equal(values, other[place])
            left[np.flatnonzero(like)[0]] = False
        return np.flatnonzero(left)

    def _order(self, rows: Rows) -> list[np.ndarray]:
        """What events are ordered by, the most important first."""
        *columns, counts, sums = rows
        totals = dict(zip((*self._counts, *self._sums), (*counts, *sums), strict=True))
        return [*columns, *(totals[name] for name in sorted(totals))]

    def _go_on(self, names: list[str], first: int, start: int, values: np.ndarray) -> np.ndarray:
        """Go on with running sums, one addition after the other as `past.events` does; gives them
        with those before."""
        running = self._arena.part(names)
        before = _before(running, first, start)
        after = np.concatenate([before, values], axis=1, dtype=running.dtype).cumsum(axis=1)
        running[:, start : start + values.shape[1]] = after[:, 1:]
        return after


def _differing(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    """Two frames without the rows that are in both: what ties in with a change is mostly as it
    was. Text tells -0.0 from 0.0, and NaN is NaN."""
    rows = [[*map(repr, frame.rows())] for frame in frames]
    shared = [*map(Counter, rows)]
    both = shared[0] & shared[1]
    if not both:
        return [*frames]
    kept = []
    for frame, texts in zip(frames, rows, strict=True):
        left = both.copy()
        differs = []
        for text in texts:
            differs.append(not left[text])
            left[text] -= not differs[-1]
        kept.append(frame.filter(differs))
    return kept


def _oldest(changed: Sequence[Rows]) -> int:
    """Time of the oldest of these events."""
    return min(int(rows[0].min()) for rows in changed if len(rows[0]))


def _before(running: np.ndarray, first: int, start: int) -> np.ndarray:
    """Running sums [C, 1] of a key's events until `start`."""
    return running[:, start - 1 : start] if start > first else np.zeros_like(running[:, :1])


def _values(column: pl.Series) -> np.ndarray:
    if is_number(column.dtype) and not column.null_count():
        return column.to_numpy()
    return np.fromiter(column.to_list(), object, len(column))


def _taken(rows: Rows, places: Sequence[int] | np.ndarray) -> Rows:
    at = np.asarray(places, np.int64)
    return [values[..., at] for values in rows]


def _equal(values: np.ndarray, value: Any) -> np.ndarray:
    """Where they are one value; NaN is one, and so is null."""
    if value is not None and value != value:
        return np.array(values != values, bool)
    return np.array([v == value for v in values]) if values.dtype == object else values == value


def _sortable(values: np.ndarray) -> np.ndarray:
    """Numbers that order as `Past` orders the values: nulls first, NaN last."""
    if values.dtype != object:
        return values
    places = [_place(value) for value in values]
    ranks = {place: rank for rank, place in enumerate(sorted(set(places)))}
    return np.array([ranks[place] for place in places])


def _place(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return (1, 0, tuple(_place(one) for one in value))
    return (0, 0, 0) if value is None else (1, 1, 0) if value != value else (1, 0, value)
