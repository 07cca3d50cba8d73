"""`fulcrum score` over the logs, from Parquet to Parquet, in processes that never load torch."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size
from benchmarks.memory import peak
from benchmarks.rounds import interleave
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.files import score_files

FILES, SEVERAL = "scoring four Parquet files", "the same, by two processes"
COUNT = 4


def measure(folder: Path, size: Size) -> list[Figure]:
    """Score the logs with the model that `benchmarks.scoring` left."""
    bundle = Bundle.load(folder / "model")
    logs, count = pl.scan_parquet(folder / "logs.parquet", glob=False), -(-size.rows // COUNT)
    for part in range(COUNT):
        rows = logs.slice(part * count, count)
        rows.sink_parquet(folder / "parts" / f"{part}.parquet", mkdir=True)

    def score(workers: int) -> Callable[[], float]:
        def action() -> float:
            shutil.rmtree(folder / "scores", ignore_errors=True)
            inputs, output = str(folder / "parts"), folder / "scores"
            return score_files(bundle, inputs, output, workers=workers).rows

        return action

    rates = interleave(size.repeats, {FILES: score(1), SEVERAL: score(2)})
    return [per_second(rates, FILES), peak(FILES), per_second(rates, SEVERAL, limit=FILES)]
