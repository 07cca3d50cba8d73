"""`fulcrum score` over the logs, from Parquet to Parquet, in a process that never loads torch."""

import shutil
from pathlib import Path

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size
from benchmarks.memory import peak
from benchmarks.rounds import interleave
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.files import score_files

FILES = "scoring a Parquet file into another"


def measure(folder: Path, size: Size) -> list[Figure]:
    """Score the logs with the model that `benchmarks.scoring` left."""
    bundle = Bundle.load(folder / "model")

    def action() -> float:
        shutil.rmtree(folder / "scores", ignore_errors=True)
        return score_files(bundle, str(folder / "logs.parquet"), folder / "scores").rows

    return [per_second(interleave(size.repeats, {FILES: action}), FILES), peak(FILES)]
