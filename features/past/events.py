"""What came before a row: the events of its key whose time is strictly earlier.

Everything that looks back asks one question: how many events of this key lie strictly before this
time? Two answers bound a window; the last N places before one are a history. Events that share a
row's timestamp, the row itself among them, are never part of its past.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.past.deal import Dealt, bucket_of

Number = TypeVar("Number", np.ndarray, pl.Expr)
Columns = Mapping[str, Any]
"""By name, an array or a Series of one value per row."""

KEY, TIME = "past.key", "past.time"
"""Columns of the sorted events, beside those that features asked for."""
FIRST, LAST = "past.first", "past.last"
"""Columns of the keys: the places of their events, the last exclusive."""
ERROR, VALUE = ".error", ".value"
"""After the name of a running sum of Float64: what its rounding lost, and what was summed."""
_FEW = 24
"""Answers that are faster searched for one by one."""


class ForgottenError(DataError):
    """An event that is there no more decides on the answer."""


class Reach(NamedTuple):
    """What of a key's events an answer is made of; of those before, what they sum up to."""

    last: int
    """Events before the row."""
    length: int
    """Microseconds before the row."""


def count_before(
    times: np.ndarray, first: np.ndarray, last: np.ndarray, moments: np.ndarray
) -> np.ndarray:
    """For each of B rows the place in `times` [N] of its first event that is not before it, for
    each of its moments.

    Events `first` [B] to `last` [B] (exclusive) are the row's own, in ascending time; those before
    the place returned are strictly earlier than `moments` [..., B]. A binary search of all at once.
    """
    if moments.size <= _FEW:
        rows = zip(*(each.flat for each in np.broadcast_arrays(first, last, moments)), strict=True)
        places = [f + times[f:z].searchsorted(now) for f, z, now in rows]
        return np.array(places, np.int64).reshape(moments.shape)
    place, longest = first, int((last - first).max())
    for bit in reversed(range(longest.bit_length())):
        probe = place + (1 << bit)
        earlier = (probe <= last) & (times.take(probe - 1, mode="clip") < moments)
        place = np.where(earlier, probe, place)
    return place


class Arrays:
    """The columns of a frame as arrays, each made once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame, self._names = frame, frozenset(frame.columns)
        self._arrays: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._frame[name].to_numpy()
        return self._arrays[name]


@dataclass(frozen=True)
class Standing:
    """Where each of B rows stands among the sorted events of one partition."""

    events: pl.DataFrame
    arrays: Arrays
    """Columns of the events."""
    moments: np.ndarray
    """Time of each row, microseconds, int64 [B]."""
    first: np.ndarray
    """Place of the oldest event of the row's key, int64 [B]."""
    end: np.ndarray
    """Place behind the last event strictly before the row, int64 [B]; `first` without a past."""
    gone: np.ndarray | None = None
    """Events of the key that were before `first` and are forgotten, int64 [B]; what they sum up to,
    and the time of the last one, are at the place before `first`. None where there are none."""

    @cached_property
    def oldest(self) -> np.ndarray:
        """`first` as it would be had nothing been forgotten, int64 [B]: no place to read."""
        return self.first if self.gone is None else self.first - self.gone

    def need(self, start: np.ndarray) -> None:
        """Raises ForgottenError when an event from these places [B] on is forgotten."""
        if self.gone is not None:
            self._check(start < self.first)

    def since(self, lengths: Sequence[int | None]) -> np.ndarray:
        """For each of U lengths the place of the first event at or after `moments - length`
        (microseconds), the key's oldest event for None; int64 [U, B]."""
        start = np.tile(self.oldest, (len(lengths), 1))
        over = {place: length for place, length in enumerate(lengths) if length is not None}
        if over:
            moments = self.moments - np.array([*over.values()])[:, None]
            self._check_times(moments.min(axis=0))
            start[[*over]] = count_before(self.arrays[TIME], self.first, self.end, moments)
        return start

    def totals(self, columns: Sequence[str], start: np.ndarray) -> np.ndarray:
        """Sums of C running columns of one type over the events from `start` [U, B] to `end`
        (exclusive), [C, U, B]."""
        place = np.concatenate([start, self.end[None]])
        upper, lower = self._until(columns, place)
        total = upper - lower
        errors = [column + ERROR for column in columns]
        if not (errors and errors[0] in self.arrays):
            return total
        with np.errstate(invalid="ignore"):
            correction = rounding(upper, -lower, total)
            lost, lost_before = self._until(errors, place)
            correction += lost - lost_before
            return total + correction

    def _until(self, columns: Sequence[str], place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Running columns before the last of the places, [C, 1, B], and before the others."""
        running, before = [self.arrays[column] for column in columns], place > self.oldest
        if before.any():
            at = np.where(before, place - 1, 0)
            until = np.where(before, np.stack([column.take(at) for column in running]), 0)
        else:
            until = np.zeros((len(running), *place.shape), running[0].dtype)
        return until[:, -1:], until[:, :-1]

    def _check_times(self, moments: np.ndarray) -> None:
        """Raises ForgottenError when an event at or after one of the moments [B] is forgotten."""
        if self.gone is not None:
            newest = self.arrays[TIME].take(np.maximum(self.first - 1, 0))
            self._check(moments <= newest)

    def _check(self, forgotten: np.ndarray) -> None:
        assert self.gone is not None
        rows = np.flatnonzero(forgotten & (self.gone > 0))
        if len(rows):
            raise ForgottenError(
                "the rows: one comes later than the allowed lateness, and events that it looks "
                f"back at are forgotten (row {rows[0] + 1:,})"
            )


@dataclass(frozen=True)
class Partition:
    """The events of some keys, sorted by key, time and content, in memory or mapped from a file."""

    keys: pl.DataFrame
    events: pl.DataFrame

    @cached_property
    def arrays(self) -> Arrays:
        """Columns of the events."""
        return Arrays(self.events)

    def find(self, keys: pl.Series, times: pl.Series) -> Standing:
        """Place rows among the events; without a known key and a time, a row has no past."""
        at = self.keys[KEY].search_sorted(keys)
        match = self.keys[KEY].gather(at, null_on_oob=True) == keys
        number = np.where(match.fill_null(False).to_numpy(), at.cast(pl.Int64).to_numpy(), -1)
        first, last = self.keys[FIRST].to_numpy(), self.keys[LAST].to_numpy()
        return stand(self.events, self.arrays, number, first, last, times)


def stand(
    events: pl.DataFrame,
    arrays: Arrays,
    number: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    times: pl.Series,
    gone: np.ndarray | None = None,
) -> Standing:
    """Place rows by `number` [B] of their key, -1 for one that is not known; `first`, `last` and
    `gone`, how many events are forgotten, are by key. The last one of those is still at `first`.

    Raises ForgottenError for a row that is not later than all that is forgotten of its key."""
    hit = number >= 0
    if times.null_count():
        hit &= times.is_not_null().to_numpy()
        times = times.fill_null(0)
    moments = times.to_numpy()
    start, end = np.zeros(len(number), np.int64), np.zeros(len(number), np.int64)
    start[hit], end[hit] = first[number[hit]], last[number[hit]]
    forgotten = None
    if gone is not None:
        forgotten = np.zeros(len(number), np.int64)
        forgotten[hit] = gone[number[hit]]
        start += forgotten > 0
    end = count_before(arrays[TIME], start, end, moments)
    standing = Standing(events, arrays, moments, start, end, forgotten)
    standing._check_times(moments - 1)
    return standing


@dataclass(frozen=True)
class Selection:
    """What a past keeps of each event."""

    key: str
    time: str
    """Int64 microseconds. Events without key or time are left out."""
    columns: Mapping[str, pl.Expr] = field(default_factory=dict)
    """Kept for each event."""
    totals: Mapping[str, pl.Expr] = field(default_factory=dict)
    """Int64, or finite Float64: running sums within the key are kept."""
    where: pl.Expr | None = None
    """The events that count; all of them for None."""
    reach: Reach | None = None
    """What answers are made of; None: of any event."""

    @cached_property
    def content(self) -> tuple[str, ...]:
        """What orders tied events: columns by name, then totals by name, nulls first."""
        return (*sorted(self.columns), *sorted(self.totals))

    def of(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Key, time and content. Whole-number keys keep their type, others become text, so that
        order and hash never depend on how a frame encodes them; an empty text and NaN name
        nobody."""
        dtype, name = events.collect_schema()[self.key], pl.col(self.key)
        if not dtype.is_integer():
            words = (name.fill_nan(None) if dtype.is_float() else name).cast(pl.String)
            name = pl.when(words != "").then(words)
        if self.where is not None:
            events = events.filter(self.where)
        content = {**self.columns, **self.totals}
        return events.select(
            name.alias(KEY),
            pl.col(self.time).alias(TIME),
            **{name: content[name] for name in self.content},
        ).filter(pl.col(KEY).is_not_null() & pl.col(TIME).is_not_null())


class AnyPast(Protocol):
    """The events of a log by one key column."""

    @property
    def key(self) -> str:
        """Name of that column."""

    def ask(
        self, keys: pl.Series, times: pl.Series, answer: Callable[[Standing], Columns]
    ) -> Columns:
        """`answer` for rows in any order; the result has their order."""


@dataclass(frozen=True)
class Past:
    """The events of a log, dealt to partitions by a hash of one key column."""

    key: str
    partitions: tuple[Partition, ...]

    @classmethod
    def build(
        cls,
        events: pl.LazyFrame,
        key: str,
        time: str,
        *,
        columns: Mapping[str, pl.Expr] | None = None,
        totals: Mapping[str, pl.Expr] | None = None,
        where: pl.Expr | None = None,
        partitions: int = 1,
        folder: Path | None = None,
    ) -> "Past":
        """Sort the events that meet `where`, in any order given, by key, time and content.

        `time` is Int64 microseconds. `columns` are kept for each event; of `totals` (Int64, or
        finite Float64) only running sums within the key are kept. Both are also the content that
        orders tied events: columns by name, then totals by name, nulls first. Events without key
        or time are left out.

        With a `folder`, events go through it and stay there: one partition at a time is in memory,
        and rows read the sorted ones through memory maps. Without, all stay in memory.
        """
        selection = Selection(key, time, columns or {}, totals or {}, where)
        return cls.of(selection, events, partitions, folder)

    @classmethod
    def of(
        cls,
        selection: Selection,
        events: pl.LazyFrame,
        partitions: int = 1,
        folder: Path | None = None,
    ) -> "Past":
        """`build` for what is declared already."""
        parts = sorted_parts(selection, events, partitions, folder)
        if folder is not None:
            parts = (_store(part, folder / str(i)) for i, part in enumerate(parts))
        return cls(selection.key, tuple(parts))

    def ask(
        self, keys: pl.Series, times: pl.Series, answer: Callable[[Standing], Columns]
    ) -> Columns:
        """`answer` for rows in any order, partition by partition; the result has their order."""
        keys = keys.cast(self.partitions[0].keys.schema[KEY], strict=False)
        if len(self.partitions) == 1:
            return answer(self.partitions[0].find(keys, times))
        parts = keys.to_frame("key").select(bucket_of(pl.col("key"), len(self.partitions)))
        numbers = parts.to_series().to_numpy()
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(len(self.partitions) + 1))
        answers = [
            answer(partition.find(keys.gather(order[a:b]), times.gather(order[a:b])))
            for partition, a, b in zip(self.partitions, ends, ends[1:], strict=False)
        ]
        place = np.argsort(order)
        return {name: _concat([part[name] for part in answers])[place] for name in answers[0]}


def _concat(parts: Sequence[Any]) -> Any:
    return pl.concat(parts) if isinstance(parts[0], pl.Series) else np.concatenate(parts)


def sorted_parts(
    selection: Selection,
    events: pl.LazyFrame,
    partitions: int = 1,
    folder: Path | None = None,
    values: bool = False,
) -> Iterator[Partition]:
    """The events of each partition in order; with a `folder` one at a time is in memory. With
    `values` what was summed to Float64 is kept beside the running sum."""
    selected = selection.of(events)
    if folder is None:
        frame = selected.collect()
        for i in range(partitions):
            mine = bucket_of(pl.col(KEY), partitions) == i
            yield sort_events(frame.filter(mine) if partitions > 1 else frame, selection, values)
        return
    dealt = Dealt.of(selected, KEY, partitions, folder / "dealt")
    for i in range(partitions):
        yield sort_events(dealt.take(i), selection, values)


def sort_events(events: pl.DataFrame, selection: Selection, values: bool = False) -> Partition:
    """Those that `Selection.of` gives, of every key whole; `values` as of `sorted_parts`."""
    events = events.select(KEY, TIME, *selection.content).sort(KEY, TIME, *selection.content)
    first = np.flatnonzero(events[KEY].ne_missing(events[KEY].shift()).to_numpy())
    keys = events.select(pl.col(KEY).gather(first)).with_columns(
        pl.Series(FIRST, first), pl.Series(LAST, np.append(first[1:], len(events))[: len(first)])
    )
    types = {name: events.schema[name] for name in selection.totals}
    running = [expr for name, dtype in types.items() for expr in _running(name, dtype)]
    if values:
        running += [pl.col(n).alias(n + VALUE) for n, dtype in types.items() if dtype.is_float()]
    events = events.with_columns(running)
    return Partition(keys, events.drop(KEY).rechunk())


def _running(name: str, dtype: pl.DataType) -> list[pl.Expr]:
    """Running sum within the key and, for Float64, of what its rounding lost, so that the sum of a
    window does not suffer from large values before it (compensated summation: Ogita, Rump and Oishi
    2005, "Accurate sum and dot product", algorithm 4.3)."""
    value = pl.col(name)
    running = value.cum_sum()
    if not dtype.is_float():
        return [running.over(KEY)]
    error = rounding(running.shift(1, fill_value=0.0), value, running).cum_sum()
    return [running.over(KEY), error.over(KEY).alias(name + ERROR)]


def rounding(a: Number, b: Number, total: Number) -> Number:
    """What rounding took from `total = a + b`, exactly (Knuth's two-sum)."""
    part = total - a
    return (a - (total - part)) + (b - part)


def _store(partition: Partition, path: Path) -> Partition:
    """The same partition in files that are mapped into memory; an empty one stays as it is."""
    if partition.keys.is_empty():
        return partition
    return Partition(
        _map(partition.keys, path.with_suffix(".keys.arrow")),
        _map(partition.events, path.with_suffix(".events.arrow")),
    )


def _map(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """One record batch, read without a copy: Polars' own reader would load it whole."""
    import pyarrow as pa

    frame.write_ipc(path, compression="uncompressed", record_batch_size=len(frame))
    with pa.memory_map(str(path)) as file:
        return pl.DataFrame(pl.from_arrow(pa.ipc.open_file(file).read_all(), rechunk=False))
