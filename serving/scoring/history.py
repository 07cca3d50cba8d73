"""Files of past events: gathered once for batch scoring, or poured into the service's store."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256 as new_hash
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.files.source import scan
from fulcrum.features.raw.conform import conform
from fulcrum.features.staging import full_disk
from fulcrum.features.transform.past import Gathered, gather
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.uses import past_reads
from fulcrum.serving.bundle.bundle import sha256
from fulcrum.serving.scoring.slices import slices

WHAT = "--history"
EVENTS_IN_MEMORY = 2_000_000
"""A longer history is sorted on disk, in parts of about this many events."""


class History:
    """Past events from Parquet or CSV files, exact repeats dropped where training dropped them."""

    def __init__(self, paths: str | Sequence[str], state: FeatureState) -> None:
        """Raises DataError when a file is missing, unreadable or lacks a column."""
        self._state = state
        self._distinct = state.spec.data.deduplicate
        self._source = scan(paths, WHAT, past_reads(state), state.spec.data.csv)
        conform(self._source.frame, state.past_columns, f"the files of {WHAT}", state.time)
        self.files = self._source.files

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the files' contents."""
        return new_hash("".join(map(sha256, self.files)).encode()).hexdigest()

    @contextmanager
    def gathered(self) -> Iterator[Gathered]:
        """The events sorted for `Transform`; files that it needs go in the end."""
        events = self._source.frame
        if self._distinct:
            events = events.unique()
        with TemporaryDirectory(prefix="fulcrum-history-") as folder:
            with full_disk(Path(folder)), self._readable():
                count = int(events.select(pl.len()).collect().item())
                if count <= EVENTS_IN_MEMORY:
                    past = gather(events, self._state)
                else:
                    parts = math.ceil(count / EVENTS_IN_MEMORY)
                    past = gather(events, self._state, Path(folder), parts)
            yield past

    def batches(self, file: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The columns of one of the files, a slice at a time."""
        return slices(self._source.parts[file], file, columns, WHAT, self._distinct)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{WHAT}: {self._source.damage() or error}") from error
