"""What tables of fewer bits cost a model that is already measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.errors import ModelError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.pipelines.quality.metrics import Metrics, Predictions, measure
from fulcrum.serving.scoring.onnx_session import Session


def check_rounding(
    graph: Path, dataset: PreparedDataset, split: str, metrics: Metrics, predictions: Predictions
) -> None:
    """Raises ModelError where a graph of rounded tables moves the metric that a task is judged by
    by more than half its interval.

    `metrics` and `predictions` are those of unrounded tables on the same split."""
    layout = dataset.state.layout
    session, parts = Session(graph, layout, "cpu"), []
    for shard in dataset.shards(split):
        inputs = [source.name for source in layout.inputs]
        rows = pl.scan_parquet(shard, glob=False).select(inputs).collect()
        scores = session.run(to_arrays(rows, layout))
        parts.append(np.stack([scores[name] for name in layout.score_columns], 1))
    rounded = measure(replace(predictions, scores=np.concatenate(parts)))
    for name, value in rounded.items():
        metric, _, task = name.partition("/")
        low, high = (metrics.get(f"{metric}_{end}/{task}") for end in ("low", "high"))
        before = metrics[name]
        if value is None or before is None or low is None or high is None:
            continue
        if abs(value - before) > (high - low) / 2:
            raise ModelError(
                f"serving.tables: fp16 moves {name} from {before:.5f} to {value:.5f}, by more than "
                f"half its interval ({low:.5f} to {high:.5f}); the model is not written. Expected "
                "fp32"
            )
