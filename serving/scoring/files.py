"""Score files: one output file per input file, restartable, in bounded memory."""

import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.features.files.paths import stem
from fulcrum.features.files.source import scan
from fulcrum.features.raw.conform import conform
from fulcrum.features.staging import full_disk
from fulcrum.features.transform.past import Gathered
from fulcrum.features.transform.uses import row_reads
from fulcrum.serving.bundle.bundle import Bundle, sha256
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer
from fulcrum.serving.scoring.slices import slices

logger = logging.getLogger(__name__)

NOTE = b"fulcrum"
"""Key, in the footer of each output file, of the note that says what made it."""


@dataclass(frozen=True)
class ScoreReport:
    """What `score_files` did."""

    files: int
    """Output files in the folder, those made by an earlier run included."""
    skipped: int
    """Of which were already done."""
    rows: int
    unknown: dict[str, int]
    """Ids that the vocabulary does not hold, by feature."""


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


def score_files(
    bundle: Bundle,
    inputs: str | Sequence[str],
    output: Path,
    *,
    history: str | Sequence[str] | None = None,
    device: Device = "auto",
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score every input file (Parquet or CSV, by path, folder or glob) into `output`.

    An output file (keys, then scores) appears under its name when it is complete. One that is
    already there and was made from the same input and history by the same model is not made again.
    Raises StateError, before anything is scored, when it was made otherwise; DataError for inputs
    that cannot be read or lack a column; ResourceError when the disk is full, or another run is
    scoring one of the files into the same place.
    """
    source = scan(inputs, "--input", row_reads(bundle.state), bundle.state.spec.data.csv)
    keys = {key: source.schema.get(key, pl.Null()) for key in bundle.state.keys}
    conform(
        source.frame,
        {**keys, **bundle.state.row_columns},
        "the files of --input",
        bundle.state.time,
    )
    past = History(history, bundle.state) if history and bundle.state.past_columns else None
    if past is None and bundle.state.past_columns:
        logger.warning("no history given: every row is scored as if nothing had happened before it")
    note = Note(bundle.fingerprint, "", past.fingerprint if past else None)
    targets = _targets(source.files, output)
    notes = {file: replace(note, input=sha256(file)) for file in targets}
    finished = {
        file: scored
        for file, target in targets.items()
        if (scored := _finished(target, notes[file]))
    }
    scorer = Scorer(bundle, device, batch_size)
    with ExitStack() as stack:
        events = (
            stack.enter_context(past.gathered()) if past and len(finished) < len(targets) else None
        )
        for file, target in targets.items():
            if file in finished:
                notes[file] = finished[file]
            else:
                rows = source.parts[file]
                notes[file] = _score_file(scorer, rows, file, target, events, notes[file], progress)
    unknown: Counter[str] = sum((Counter(one.unknown) for one in notes.values()), Counter())
    count = sum(one.rows for one in notes.values())
    return ScoreReport(len(notes), len(finished), count, dict(unknown))


def _targets(files: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Output file by input file: the same place below `output` as below their common folder."""
    common = Path(os.path.commonpath([file.resolve().parent for file in files]))
    targets: dict[Path, Path] = {}
    for file in files:
        place = output / file.resolve().relative_to(common)
        target = place.with_name(f"{stem(file)}.parquet")
        if target in targets.values():
            raise DataError(f"two input files would both be scored into {target}; rename one")
        if target.resolve() == file.resolve():
            raise DataError(f"{target}: the scores would replace their own input")
        targets[file] = target
    return targets


def _finished(target: Path, expected: Note) -> Note | None:
    """The note of a finished output file; None when it is not there."""
    if not target.exists():
        return None
    try:
        note = Note(**json.loads((pq.read_metadata(target).metadata or {})[NOTE]))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise StateError(f"{target}: not scores by Fulcrum; give another --output") from error
    if difference := note.difference(expected):
        raise StateError(f"{target}: made from {difference}; remove it or give another --output")
    return note


def _score_file(
    scorer: Scorer,
    rows: pl.LazyFrame,
    file: Path,
    target: Path,
    past: Gathered | None,
    note: Note,
    progress: Progress | None,
) -> Note:
    """What is noted of the file once it is whole, by this run or by another one meanwhile."""
    before, count = Counter(scorer.unknown), 0
    with full_disk(target), _unfinished(target) as (stream, partial), ExitStack() as stack:
        if (scored := _finished(target, note)) is not None:
            return scored
        writer: pq.ParquetWriter | None = None
        for part in slices(rows, file, scorer.columns, "--input"):
            try:
                table = _table(scorer.score(part, past, count))
            except DataError as error:
                raise DataError(f"{file}: {error}") from error
            writer = writer or stack.enter_context(pq.ParquetWriter(stream, table.schema))
            writer.write_table(table)
            count += part.height
            if progress is not None:
                progress(file, count)
        assert writer is not None
        unknown = dict(scorer.unknown - before)
        note = replace(note, rows=count, unknown=unknown)
        writer.add_key_value_metadata({NOTE: json.dumps(asdict(note)).encode()})
        writer.close()
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(partial, target)
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
