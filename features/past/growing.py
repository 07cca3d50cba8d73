"""A past to which events are added, and from which they are taken, while rows ask it.

Every key has a block of places in an arena, with room behind its events. A new event is mostly the
latest of its key: it goes to the end, and the running sums go on. What lies behind an earlier one
is sorted and summed again. So every answer has the bits that `Past` gives for the same events.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fulcrum.features.past.arena import Arena
from fulcrum.features.past.events import (
    ERROR,
    FIRST,
    KEY,
    LAST,
    TIME,
    VALUE,
    Columns,
    Partition,
    Selection,
    Standing,
    rounding,
    sorted_parts,
    stand,
)
from fulcrum.features.past.shared_lock import SharedLock

SMALLEST_BLOCK = 4
"""Places of a key that gets its first event here; a block that is full moves to one of twice as
many."""

Rows = dict[str, np.ndarray]
"""Values by column."""


class GrowingPast:
    """Answers like a `Past`. Safe to call from several threads."""

    def __init__(
        self,
        selection: Selection,
        events: pl.LazyFrame,
        partitions: int = 1,
        folder: Path | None = None,
    ) -> None:
        """Sort the events there are. With a `folder`, which may go then, one partition at a time is
        in memory, and all sorted events are in temporary files that need no care."""
        self.key = selection.key
        self._selection = selection
        self._lock = SharedLock()
        parts = sorted_parts(selection, events, partitions, folder, values=True)
        arena, keys = None, []
        for part in parts:
            if arena is None:
                arena = Arena(part.events.schema, mapped=folder is not None)
            keys.append(_moved(part, arena))
        assert arena is not None
        self._arena = arena
        known = pl.concat(keys).sort(KEY)
        self._known = known[KEY]
        """Keys of the events at the start."""
        self._later: dict[Any, int] = {}
        """Numbers of further keys, which go on where those end."""
        first, last = known[FIRST].to_numpy(), known[LAST].to_numpy()
        self._blocks = np.stack([first, last, last])
        """First place of each key, those behind its last event and behind its room."""

    def ask(
        self, keys: pl.Series, times: pl.Series, answer: Callable[[Standing], Columns]
    ) -> Columns:
        """`answer` for rows in any order; the result has their order."""
        keys = keys.cast(self._known.dtype, strict=False)
        number = self._find(keys)
        with self._lock.reading():
            self._find_later(keys, number)
            first, last, _ = self._blocks
            return answer(stand(self._arena.frame(), number, first, last, times))

    def change(self, gone: pl.DataFrame, new: pl.DataFrame) -> None:
        """Take events out, each of which must be there, and add others.

        Both are collected from `Selection.of`; an event has no name but its content. Nobody sees
        the one without the other."""
        events = pl.concat([gone, new])
        keys = events[KEY].unique(maintain_order=True)
        number = self._find(keys)
        places: dict[Any, tuple[list[int], list[int]]] = {key: ([], []) for key in keys}
        for place, key in enumerate(events[KEY]):
            places[key][place >= len(gone)].append(place)
        rows = {name: _values(events[name]) for name in (TIME, *self._selection.content)}
        with self._lock.writing():
            self._find_later(keys, number)
            for n, (key, (out, into)) in zip(number, places.items(), strict=True):
                block = self._new_block(key) if n < 0 else int(n)
                self._rewrite(block, _taken(rows, out), _taken(rows, into))

    def _find(self, keys: pl.Series) -> np.ndarray:
        """Numbers of the keys that were there at the start, -1 for others."""
        at = self._known.search_sorted(keys)
        match = (self._known.gather(at, null_on_oob=True) == keys).fill_null(False)
        return np.where(match.to_numpy(), at.cast(pl.Int64).to_numpy(), -1)

    def _find_later(self, keys: pl.Series, number: np.ndarray) -> None:
        if self._later:
            missing = np.flatnonzero(number < 0)
            number[missing] = [self._later.get(keys[int(place)], -1) for place in missing]

    def _new_block(self, key: Any) -> int:
        number = self._later[key] = len(self._known) + len(self._later)
        if number == self._blocks.shape[1]:
            more = np.zeros((3, max(1024, number)), np.int64)
            self._blocks = np.concatenate([self._blocks, more], axis=1)
        return number

    def _rewrite(self, block: int, gone: Rows, new: Rows) -> None:
        """What a key has from the first of these events on."""
        first, last, end = self._blocks[:, block].tolist()
        times = self._arena.columns[TIME]
        oldest = min(rows[TIME].min() for rows in (gone, new) if len(rows[TIME]))
        start = first + int(np.searchsorted(times[first:last], oldest))
        tail = self._content(first, start, last)
        if len(gone[TIME]):
            tail = _taken(tail, self._rest(tail, gone))
        rows = {name: _joined(tail[name], new[name]) for name in tail}
        if len(rows[TIME]) > 1:
            rows = _taken(rows, self._order(rows))
        until = start + len(rows[TIME])
        if until > end:
            moved = self._move(first, start, end, until - first)
            start, until, first = start + moved - first, until + moved - first, moved
            end = first + self._room(until - first)
        for name in (TIME, *self._selection.columns):
            self._arena.write(name, start, rows[name])
        for name in self._selection.totals:
            self._sum(name, first, start, rows[name])
        self._blocks[:, block] = first, until, end

    def _room(self, count: int) -> int:
        return max(SMALLEST_BLOCK, 1 << (count - 1).bit_length())

    def _move(self, first: int, start: int, end: int, count: int) -> int:
        """Events up to `start` to a block with room for `count`; gives its first place."""
        moved = self._arena.take(self._room(count))
        for column in self._arena.columns.values():
            column[moved : moved + start - first] = column[first:start]
        if end > first:
            self._arena.give(first, end - first)
        return moved

    def _content(self, first: int, start: int, last: int) -> Rows:
        """Time and content of a key's events from `start` on."""
        columns = self._arena.columns
        rows = {name: columns[name][start:last] for name in (TIME, *self._selection.columns)}
        for name in self._selection.totals:
            if name + VALUE in columns:
                rows[name] = columns[name + VALUE][start:last]
            else:
                before = columns[name][start - 1] if start > first else 0
                rows[name] = np.diff(columns[name][start:last], prepend=before)
        return rows

    def _rest(self, rows: Rows, gone: Rows) -> np.ndarray:
        """Places of the rows that are left when each of those gone has taken one like it."""
        left = np.ones(len(rows[TIME]), bool)
        for place in range(len(gone[TIME])):
            like = left.copy()
            for name, values in rows.items():
                like &= _equal(values, gone[name][place])
            left[np.flatnonzero(like)[0]] = False
        return np.flatnonzero(left)

    def _order(self, rows: Rows) -> np.ndarray:
        content = [_sortable(rows[name]) for name in reversed(self._selection.content)]
        return np.lexsort([*content, rows[TIME]])

    def _sum(self, name: str, first: int, start: int, values: np.ndarray) -> None:
        """Go on with a running sum as `past.events` does."""
        columns = self._arena.columns
        until = start + len(values)

        def go_on(column: np.ndarray, values: np.ndarray) -> np.ndarray:
            before = column[start - 1] if start > first else 0
            running = np.cumsum(np.append(before, values).astype(column.dtype))
            column[start:until] = running[1:]
            return running

        with np.errstate(over="ignore", invalid="ignore"):
            running = go_on(columns[name], values)
            if name + VALUE in columns:
                go_on(columns[name + ERROR], rounding(running[:-1], values, running[1:]))
                columns[name + VALUE][start:until] = values


def _moved(part: Partition, arena: Arena) -> pl.DataFrame:
    """Put the events of a partition into the arena; gives its keys with their places there."""
    count = len(part.events)
    first = arena.take(count)
    for name in part.events.columns:
        arena.write(name, first, _values(part.events[name]))
    return part.keys.with_columns(pl.col(FIRST, LAST) + first)


def _values(column: pl.Series) -> np.ndarray:
    plain = column.dtype.is_integer() or column.dtype.is_float()
    if plain and not column.null_count():
        return column.to_numpy()
    values = np.empty(len(column), object)
    values[:] = column.to_list()
    return values


def _taken(rows: Rows, places: Sequence[int] | np.ndarray) -> Rows:
    return {name: values[np.asarray(places, np.int64)] for name, values in rows.items()}


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([a, b]) if len(a) else b


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
