"""One output file: complete or absent, with a note of what made it."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.features.staging import full_disk
from fulcrum.features.transform.past import Gathered
from fulcrum.serving.scoring.scorer import Scorer
from fulcrum.serving.scoring.slices import slices

NOTE = b"fulcrum"
"""Key, in the footer of each output file, of the note that says what made it."""

Progress = Callable[[Path, int], None]
"""Called with an input file and the number of its rows scored so far."""


@dataclass(frozen=True)
class Note:
    """What made an output file."""

    model: str
    """Fingerprint of the bundle."""
    input: str
    """SHA-256 of the input file."""
    past: str | None
    """Fingerprint of the history."""
    rows: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)

    def difference(self, other: "Note") -> str | None:
        """In what another making differs, in words."""
        for name, words in (
            ("model", "another model"),
            ("input", "another input file"),
            ("past", "another history"),
        ):
            if getattr(self, name) != getattr(other, name):
                return words
        return None


@dataclass(frozen=True)
class ScoredFile:
    """An output file that is to be made."""

    input: Path
    target: Path
    rows: pl.LazyFrame
    """Of the input."""
    note: Note
    """As far as it is known before."""

    def finished(self) -> Note | None:
        """The note of the file that is there; None where none is.

        Raises StateError when it was made otherwise."""
        target = self.target
        if not target.exists():
            return None
        try:
            note = Note(**json.loads((pq.read_metadata(target).metadata or {})[NOTE]))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            raise StateError(f"{target}: not scores by Fulcrum; give another --output") from error
        if difference := note.difference(self.note):
            raise StateError(
                f"{target}: made from {difference}; remove it or give another --output"
            )
        return note

    def make(self, scorer: Scorer, past: Gathered | None, progress: Progress | None) -> Note:
        """What is noted of the file once it is whole, by this run or by another one meanwhile.

        Raises DataError for rows that cannot be read or scored, ResourceError when the disk is full
        or another run is making the file."""
        before, count = Counter(scorer.unknown), 0
        with (
            full_disk(self.target),
            _unfinished(self.target) as (stream, partial),
            ExitStack() as stack,
        ):
            if (scored := self.finished()) is not None:
                return scored
            writer: pq.ParquetWriter | None = None
            for part in slices(self.rows, self.input, scorer.columns, "--input"):
                try:
                    table = _table(scorer.score(part, past, count))
                except DataError as error:
                    raise DataError(f"{self.input}: {error}") from error
                writer = writer or stack.enter_context(pq.ParquetWriter(stream, table.schema))
                writer.write_table(table)
                count += part.height
                if progress is not None:
                    progress(self.input, count)
            assert writer is not None
            note = replace(self.note, rows=count, unknown=dict(scorer.unknown - before))
            writer.add_key_value_metadata({NOTE: json.dumps(asdict(note)).encode()})
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(partial, self.target)
        return note


@contextmanager
def _unfinished(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An empty file beside `target` that no other run writes, and its name; gone at the end unless
    it was renamed.

    Raises ResourceError while another run has it: a lock, which dies with its process."""
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, the other run may have finished and renamed it.
            ours = _names(partial, stream)
        except BlockingIOError:
            ours = False
        if not ours:
            raise ResourceError(f"{target}: another run is scoring it; wait until it is done")
        stream.truncate()
        try:
            yield stream, partial
        finally:
            if _names(partial, stream):
                partial.unlink()


def _names(path: Path, stream: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _table(scores: pl.DataFrame) -> pa.Table:
    return scores.to_arrow(compat_level=pl.CompatLevel.oldest())
