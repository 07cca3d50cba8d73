"""Score files: one output file per input file, restartable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import Bundle
from serving.session import Device


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
    """Score every input file into `output`."""
    raise NotImplementedError
