"""What tables of fewer bits cost a model that is already measured."""

from pathlib import Path

from fulcrum.features.errors import ModelError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.quality.metrics import Metrics, measure
from fulcrum.pipelines.runs.graph_scores import graph_scores


def check_rounding(graph: Path, dataset: PreparedDataset, split: str, metrics: Metrics) -> None:
    """Raises ModelError where a graph of rounded tables moves the metric that a task is judged by
    by more than half its interval.

    `metrics` are those of unrounded tables on the same split."""
    rounded = measure(graph_scores(graph, dataset, split))
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
