"""Where each of many texts stands in a list, by a hash table that is made once."""

import numpy as np
import polars as pl

_FREE = -1
_SPARSE = 4
"""Slots for each text, so that most are found where they are first looked for."""


class Places:
    """Open addressing with linear probing (Knuth, The Art of Computer Programming 3, 6.4)."""

    def __init__(self, texts: pl.Series) -> None:
        """`texts` String, unique, never null."""
        self._texts = texts.rechunk()
        self._slots = np.full(1 << (_SPARSE * len(texts)).bit_length(), _FREE, np.int32)
        places = np.arange(len(texts), dtype=np.int32)
        slots = self._first(texts)
        while len(places):
            free = self._slots[slots] == _FREE
            self._slots[slots[free]] = places[free]
            lost = self._slots[slots] != places
            places, slots = places[lost], self._next(slots[lost])

    def of(self, words: pl.Series) -> np.ndarray:
        """Int32 `[B]`, by word, never null, its place among the texts; -1 for one that is none."""
        slots = self._first(words)
        places = self._slots[slots]
        rows = self._elsewhere(places, words)
        while len(rows):
            slots[rows] = self._next(slots[rows])
            places[rows] = self._slots[slots[rows]]
            rows = rows[self._elsewhere(places[rows], words[rows])]
        return places

    def _first(self, words: pl.Series) -> np.ndarray:
        last = np.uint64(len(self._slots) - 1)
        return (words.hash(seed=0).to_numpy() & last).astype(np.int64)

    def _next(self, slots: np.ndarray) -> np.ndarray:
        return (slots + 1) & (len(self._slots) - 1)

    def _elsewhere(self, places: np.ndarray, words: pl.Series) -> np.ndarray:
        """Rows whose slot another text has taken."""
        taken = places != _FREE
        if not taken.any():
            return np.empty(0, np.int64)
        other = self._texts[np.where(taken, places, 0)] != words
        return np.flatnonzero(other.to_numpy() & taken)
