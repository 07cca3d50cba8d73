"""What a reader deals: rows, or whole sessions.

A unit is a run of rows that are never parted. Where each row is a unit of its own, their sizes are
one repeated number without memory, so that one way of dealing serves both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Run:
    """Units of a split that lie one behind the other and are read together."""

    start: int
    """Place of the first row among the split's rows in file order."""
    sizes: np.ndarray
    """Rows of each unit, int64 `(units,)`."""

    @property
    def stop(self) -> int:
        """Place behind the last row."""
        return self.start + self.rows

    @property
    def rows(self) -> int:
        return int(self.sizes.sum())


def row_runs(edges: Sequence[int]) -> list[Run]:
    """Runs between rising edges in the rows of a split, each row a unit."""
    return [
        Run(start, np.broadcast_to(np.int64(1), stop - start)) for start, stop in pairwise(edges)
    ]


def session_runs(edges: Sequence[int], sessions: Iterable[np.ndarray]) -> list[Run]:
    """Runs of the sessions that begin between rising edges in the rows of a split; `sessions` are
    the numbers of the rows from edge to edge. A run ends where its last session does, behind the
    edge if need be."""
    begins: list[np.ndarray] = []
    last: int | None = None
    for start, numbers in zip(edges, sessions, strict=False):
        new = np.append(numbers[0] != last, numbers[1:] != numbers[:-1])
        begins.append(start + np.flatnonzero(new))
        last = int(numbers[-1])
    sizes = np.diff(np.concatenate([*begins, edges[-1:]]))
    cuts = np.cumsum([0, *map(len, begins)])
    return [
        Run(int(starts[0]), sizes[a:b])
        for starts, a, b in zip(begins, cuts, cuts[1:], strict=False)
        if len(starts)
    ]


def deal(sizes: np.ndarray, parts: int, least: int = 1) -> np.ndarray:
    """Edges, int64 `(parts + 1,)`, that cut units `[U]` of these sizes into parts as equal in rows
    as whole units allow, none with fewer than `least` units. `U >= parts * least`."""
    ends = np.append(0, np.cumsum(sizes))
    number = np.arange(parts + 1)
    ideal = ends[-1] * number // parts
    above = np.searchsorted(ends, ideal)
    below = np.maximum(above - 1, 0)
    nearest = np.where(ideal - ends[below] < ends[above] - ideal, below, above)
    after = np.maximum.accumulate(nearest - least * number) + least * number
    return np.minimum(after, len(sizes) - least * (parts - number))


def places(sizes: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Places of the rows of the chosen units, unit by unit, among the rows of all units."""
    return spread(np.cumsum(sizes)[units] - sizes[units], sizes[units])


def spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as each length says, one after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
