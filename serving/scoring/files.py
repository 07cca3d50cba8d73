"""Score files: one output file per input file, restartable, in bounded memory."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.files.paths import stem
from fulcrum.features.files.source import scan
from fulcrum.features.raw.conform import conform
from fulcrum.features.transform.uses import row_reads
from fulcrum.serving.bundle.bundle import Bundle, sha256
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scored_file import Note, Progress, ScoredFile
from fulcrum.serving.scoring.shard import Shard
from fulcrum.serving.scoring.workers import Scoring, score_by

WHOLE = Shard(1, 1)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreReport:
    """What `score_files` did."""

    files: int
    """Output files of the shard, those made by an earlier run included."""
    skipped: int
    """Of which were already done."""
    rows: int
    unknown: dict[str, int]
    """Ids that the vocabulary does not hold, by feature."""


def score_files(
    bundle: Bundle,
    inputs: str | Sequence[str],
    output: Path,
    *,
    history: str | Sequence[str] | None = None,
    device: Device = "auto",
    batch_size: int | None = None,
    workers: int = 1,
    shard: Shard = WHOLE,
    progress: Progress | None = None,
) -> ScoreReport:
    """Score every input file (Parquet or CSV, by path, folder or glob) into `output`.

    An output file (keys, then scores) appears under its name when it is complete. One that is
    already there and was made from the same input and history by the same model is not made again.
    Several `workers` are processes of one thread each, which sort the history each for themselves.
    A `shard` scores its share of the files, to the bytes that they have in the whole: types and
    places come from all of them, which it opens.
    Raises StateError, before anything is scored, when it was made otherwise; DataError for inputs
    that cannot be read or lack a column; ResourceError when the disk is full, or another run is
    scoring one of the files into the same place, or one of the processes dies.
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
    files = [
        ScoredFile(file, target, source.parts[file], replace(note, input=sha256(file)))
        for file, target in shard.share([*_targets(source.files, output).items()])
    ]
    finished = {file.target: done for file in files if (done := file.finished())}
    waiting = [file for file in files if file.target not in finished]
    notes = list(finished.values())
    scoring = Scoring(bundle, past if waiting else None, device, batch_size)
    if (processes := min(workers, len(waiting))) > 1:
        notes += score_by(processes, scoring, waiting, progress)
    else:
        with scoring.begun() as score:
            notes += [score(file, progress) for file in waiting]
    unknown: Counter[str] = sum((Counter(note.unknown) for note in notes), Counter())
    rows = sum(note.rows for note in notes)
    return ScoreReport(len(notes), len(finished), rows, dict(unknown))


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
