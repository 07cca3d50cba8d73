"""Score files: one output file per input file, restartable, in bounded memory."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.errors import DataError, StateError
from serving.bundle import Bundle, sha256
from serving.disk import writing
from serving.history import History
from serving.scorer import Scorer
from serving.session import Device
from serving.source import batches, find_files

MARK = b"fulcrum"
"""Key of the note in each output file that says what made it."""


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
class Mark:
    """What made an output file: it is done when it carries the same mark."""

    model: str
    """Fingerprint of the bundle."""
    input: str
    """SHA-256 of the input file."""
    past: str | None
    """Fingerprint of the history."""
    rows: int = 0
    unknown: dict[str, int] | None = None


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

    An output file appears under its name when it is complete. A file that is already there and was
    made from the same input and history by the same model is not made again. Raises StateError,
    before anything is scored, when it was made otherwise; DataError for inputs that cannot be read
    or lack a column; ResourceError when the disk is full.
    """
    raise NotImplementedError
