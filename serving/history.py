"""Files of past events: gathered once for batch scoring, or poured into the service's store."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256 as new_hash
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from features.conform import conform
from features.source import scan
from features.state import FeatureState
from features.transform import Gathered, gather
from serving.bundle import sha256
from serving.disk import writing

EVENTS_IN_MEMORY = 2_000_000
"""A longer history is sorted on disk, in parts of about this many events."""


class History:
    """Past events from Parquet or CSV files, exact repeats dropped where training dropped them."""

    def __init__(self, paths: str | Sequence[str], state: FeatureState) -> None:
        """Raises DataError when a file is missing, unreadable or lacks a column."""
        self._state = state
        self._source = scan(paths, "--history")
        conform(self._source.frame, state.past_columns, "the files of --history")
        self.files = self._source.files

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the files' contents."""
        return new_hash("".join(map(sha256, self.files)).encode()).hexdigest()

    @contextmanager
    def gathered(self) -> Iterator[Gathered]:
        """The events sorted for `features.transform.encode`; files that it needs go in the end."""
        events = self._distinct(self._source.frame)
        count = int(events.select(pl.len()).collect().item())
        if count <= EVENTS_IN_MEMORY:
            yield gather(events, self._state)
            return
        parts = math.ceil(count / EVENTS_IN_MEMORY)
        with TemporaryDirectory(prefix="fulcrum-history-") as folder, writing(Path(folder)):
            yield gather(events, self._state, Path(folder), parts)

    def batches(self, file: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The columns of one of the files, a slice at a time."""
        frame = self._distinct(scan(str(file), "--history").frame).select(columns)
        yield from frame.collect_batches(chunk_size=EVENTS_IN_MEMORY // 32)

    def _distinct(self, events: pl.LazyFrame) -> pl.LazyFrame:
        return events.unique() if self._state.spec.data.deduplicate else events
