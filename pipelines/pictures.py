"""Draws a finished run from what it left, and keeps the pictures with it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from features.dataset import PreparedDataset
from features.reader import Reader
from models.network import Network
from pipelines import figures
from pipelines.checkpoint import load_weights
from pipelines.config import RunConfig
from pipelines.metrics import Metrics, Predictions, by_task
from pipelines.registration import measured_split
from pipelines.tracker import Tracker
from pipelines.train import TrainResult

CURVES = ("auc", "grouped_auc", "log_loss", "normalised_entropy", "rmse", "accuracy")
"""Metrics whose course is drawn."""
GATE_ROWS = 4096
"""Rows over which gate weights are averaged."""


def draw(
    config: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    result: TrainResult,
    predictions: Predictions,
    models: Mapping[str, Metrics],
    tracker: Tracker,
) -> None:
    """Write every picture that the run has something to show for into `folder/figures`."""
    pictures = {
        "training_curves": _curves(result),
        "calibration": _calibration(predictions),
        "gain": _gain(models),
        "drift": _drift(dataset),
        "gates": _gates(config, dataset, result.checkpoint),
    }
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    for name, figure in pictures.items():
        if figure is not None:
            tracker.log_artifact(figures.save(figure, target / f"{name}.png"), "figures")


def _curves(result: TrainResult) -> figures.Figure | None:
    history = [
        (step, {k: v for k, v in metrics.items() if v is not None and k.split("/")[0] in CURVES})
        for step, metrics in result.history
    ]
    drawn = any(metrics for _, metrics in history)
    return figures.training_curves(history, result.step) if drawn else None


def _calibration(predictions: Predictions) -> figures.Figure | None:
    binary = [r for r in by_task(predictions) if r.task.kind == "binary" and len(r.labels)]
    scores = {rows.task.name: rows.scores for rows in binary}
    labels = {rows.task.name: rows.labels for rows in binary}
    return figures.calibration(scores, labels) if binary else None


def _gain(models: Mapping[str, Metrics]) -> figures.Figure | None:
    """AUC by task, from the constant predictor's to each network's."""
    names = [name for name in next(iter(models.values())) if name.startswith("auc/")]
    values = {m: [metrics.get(n) for n in names] for m, metrics in reversed([*models.items()])}
    if not names:
        return None
    tasks = [name.removeprefix("auc/") for name in names]
    numbers = {m: [np.nan if v is None else v for v in row] for m, row in values.items()}
    return figures.gain("auc", tasks, numbers)


def _drift(dataset: PreparedDataset) -> figures.Figure | None:
    *_, last = dataset.drift.columns
    if not last.startswith("psi."):
        return None
    return figures.drift(dict(dataset.drift.select("feature", last).iter_rows()))


def _gates(config: RunConfig, dataset: PreparedDataset, checkpoint: Path) -> figures.Figure | None:
    """Mean gate weights on held-out rows; nothing for a network with less than two experts."""
    layout = dataset.state.layout
    network = Network(layout, config.model, config.weighting, tables_device=torch.device("cpu"))
    network.load_state_dict(load_weights(checkpoint))
    network.eval()
    with torch.no_grad():
        batch = next(iter(Reader(dataset, measured_split(dataset), GATE_ROWS)))
        levels = network.diagnostics(batch)
    if not levels or levels[-1].gates is None:
        return None
    weights = levels[-1].gates.float().mean(0).numpy()
    return figures.gates(weights, levels[-1].outputs) if min(weights.shape) > 1 else None
