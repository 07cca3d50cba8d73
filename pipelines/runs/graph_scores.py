"""What an exported graph says of a split."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.declared.session import SESSION
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.pipelines.quality.prediction_file import PredictionFile
from fulcrum.pipelines.quality.predictions import GROUP, WEIGHT, Predictions
from fulcrum.serving.scoring.onnx_session import Session


def graph_scores(graph: Path, dataset: PreparedDataset, split: str) -> Predictions:
    """Of every row of a split, in file order; a shard is held at a time."""
    layout = dataset.state.layout
    session, file = Session(graph, layout, "cpu"), PredictionFile(layout, dataset.folder)
    inputs = [source.name for source in layout.inputs]
    outcomes = [pl.col(f"^{start}[.].*$") for start in ("label", "observed", "row")]
    for shard in dataset.shards(split):
        rows = pl.scan_parquet(shard, glob=False)
        scores = session.run(to_arrays(rows.select(inputs).collect(), layout))
        add_scores(file, scores, rows.select(outcomes).collect())
    return file.end()


def add_scores(file: PredictionFile, scores: Mapping[str, np.ndarray], rows: pl.DataFrame) -> None:
    """Put rows into a file: `(rows,)` by score column, and what their shards say of outcomes."""
    layout = file.layout
    names = [task.name for task in layout.tasks]
    labels, observed = (
        rows.select(f"{what}.{name}" for name in names).to_numpy() for what in ("label", "observed")
    )
    sessions = rows[SESSION].to_numpy() if SESSION in rows else np.zeros(len(rows), np.int64)
    file.add(
        np.stack([scores[name] for name in layout.score_columns], 1),
        labels,
        observed,
        rows[WEIGHT].to_numpy(),
        rows[GROUP].to_numpy(),
        sessions,
    )
