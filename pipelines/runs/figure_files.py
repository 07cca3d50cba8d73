"""Draws a finished run from what it left, and keeps the pictures with it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.figures import balance as balance_figures
from fulcrum.pipelines.figures import run as figures
from fulcrum.pipelines.quality.experts import Health
from fulcrum.pipelines.quality.metrics import Metrics
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, by_task
from fulcrum.pipelines.quality.reliability import Curve, reliability
from fulcrum.pipelines.quality.units import units
from fulcrum.pipelines.tracking.protocol import Tracker
from fulcrum.pipelines.training.trainer import TrainResult
from fulcrum.pipelines.training.weight_history import COSINE, WEIGHT, lines

CURVES = {
    *("auc", "grouped_auc", "log_loss", "normalised_entropy"),
    *(task.compared_by[0] for task in TASKS.values()),
}
"""Metrics whose course is drawn."""


def draw(
    dataset: PreparedDataset,
    folder: Path,
    result: TrainResult,
    predictions: Predictions,
    uncalibrated: Predictions | None,
    health: Health,
    models: Mapping[str, Metrics],
    tracker: Tracker,
) -> None:
    """Write every picture that the run has something to show for into `folder/figures`.
    `uncalibrated` has the scores of the same rows before they were calibrated, if they were."""
    pictures = {
        "training_curves": _curves(result),
        "weights": _weights(result),
        "conflicts": _conflicts(result),
        "calibration": _calibration(predictions, uncalibrated),
        "gain": _gain(models),
        "drift": _drift(dataset),
        "health": figures.health(health.levels) if health.levels else None,
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
    if not any(metrics for _, metrics in history):
        return None
    return figures.training_curves(history, result.step)


def _weights(result: TrainResult) -> figures.Figure | None:
    """Unless they stay what they were; means of equal weights differ in their last digits."""
    course = lines(result.course, WEIGHT)
    moves = any(
        not np.isclose(v, course[0][1][n], 1e-3) for _, means in course for n, v in means.items()
    )
    return balance_figures.weights(course) if moves else None


def _conflicts(result: TrainResult) -> figures.Figure | None:
    course = lines(result.course, COSINE)
    return balance_figures.conflicts(course) if course else None


def _calibration(
    predictions: Predictions, uncalibrated: Predictions | None
) -> figures.Figure | None:
    curves = _reliability(predictions)
    earlier = {} if uncalibrated is None else _reliability(uncalibrated)
    moved = (task for task in earlier if not np.array_equal(earlier[task].mean, curves[task].mean))
    before = {task: earlier[task] for task in moved}
    return figures.calibration(curves, before) if curves else None


def _reliability(predictions: Predictions) -> dict[str, Curve]:
    unit = units(predictions.column(GROUP))[1]
    return {
        rows.task.name: reliability(rows.scores, rows.labels, rows.weight, unit[rows.observed])
        for rows in by_task(predictions)
        if TASKS[rows.task.kind].two_classes and rows.weight.any()
    }


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
