"""What an exported graph says of a split."""

from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.serving.scoring.onnx_session import Session


def graph_scores(graph: Path, dataset: PreparedDataset, split: str) -> np.ndarray:
    """`(rows, score columns)`, in file order."""
    layout = dataset.state.layout
    session, parts = Session(graph, layout, "cpu"), []
    for shard in dataset.shards(split):
        inputs = [source.name for source in layout.inputs]
        rows = pl.scan_parquet(shard, glob=False).select(inputs).collect()
        scores = session.run(to_arrays(rows, layout))
        parts.append(np.stack([scores[name] for name in layout.score_columns], 1))
    return np.concatenate(parts)
