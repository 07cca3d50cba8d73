"""The importance of features in a finished run, and what is kept of it with the run.

`importance_<split>.csv` has a line for each group and task, `figures/importance_<split>.png` is the
picture. Both lie in the run's folder and in MLflow.
"""

import logging
import os
import time
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fulcrum.features.staging import full_disk
from fulcrum.pipelines.console.progress import SECONDS_BETWEEN_LINES
from fulcrum.pipelines.figures import importance as figures
from fulcrum.pipelines.figures.run import save
from fulcrum.pipelines.importance.groups import feature_groups, short
from fulcrum.pipelines.importance.permutation import Importance, importance
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.tracking.mlflow import FoundRun, MlflowTracker
from fulcrum.pipelines.training.checkpoint import check_data
from fulcrum.pipelines.training.predict import restore_network
from fulcrum.pipelines.training.trainer import read_result

logger = logging.getLogger(__name__)


def measure_importance(run: FoundRun, split: str, uri: str, console: Console) -> Importance:
    """Measure it with the run's best weights, and keep table and picture. Raises StateError when
    the prepared data are no longer those that it was trained on."""
    config = kept_config(run)
    dataset = prepare_dataset(config, console)
    checkpoint = read_result(run.folder / "checkpoints").checkpoint
    check_data(checkpoint, dataset.fingerprint)
    groups = feature_groups(dataset.state)
    with (
        restore_network(config, dataset, checkpoint) as (model, process),
        Told(len(groups), console) as told,
    ):
        found = importance(model, dataset, split, groups, process, told)
    with full_disk(run.folder):
        _keep(found, run.folder, MlflowTracker(uri, run.id))
    return found


class Told:
    """How many groups are done: a bar on a terminal, a log line every ten seconds elsewhere."""

    def __init__(self, groups: int, console: Console) -> None:
        self.groups, self.lines = groups, not console.is_terminal
        columns = TextColumn("[bold]importance"), BarColumn(), MofNCompleteColumn()
        self.bar = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self.task = self.bar.add_task("importance", total=groups)
        self.began = self.last_line = time.monotonic()

    def __enter__(self) -> "Told":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, done: int) -> None:
        self.bar.update(self.task, completed=done)
        now = time.monotonic()
        if not (self.lines and done) or now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        left = (now - self.began) / done * (self.groups - done)
        logger.info("importance: %d of %d groups, %.0f s left", done, self.groups, left)


def to_frame(found: Importance) -> pl.DataFrame:
    """A line for each group and task: the metric, and what it loses with its interval."""
    rows = [
        (group, task, metric, found.values[task], loss.value, loss.low, loss.high, loss.clear)
        for group in found.ranked()
        for task, metric in found.metrics.items()
        for loss in [found.drops[group][task]]
    ]
    names = ("features", "task", "metric")
    numbers = ("value", "loss", "low", "high")
    schema = dict.fromkeys(names, pl.String()) | dict.fromkeys(numbers, pl.Float64())
    return pl.DataFrame(rows, schema={**schema, "clear": pl.Boolean()}, orient="row")


def _keep(found: Importance, folder: Path, tracker: MlflowTracker) -> None:
    name, groups, tasks = f"importance_{found.split}", found.ranked(), list(found.metrics)
    losses = np.array([[found.drops[g][t].value for t in tasks] for g in groups])
    shares = np.array([[found.share(g, t) for t in tasks] for g in groups])
    clear = np.array([[found.drops[g][t].clear for t in tasks] for g in groups])
    picture = figures.importance([*map(short, groups)], found.metrics, losses, shares, clear)
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    tracker.log_artifact(save(picture, target / f"{name}.png"), "figures")
    table, unfinished = folder / f"{name}.csv", folder / f".{name}.csv"
    to_frame(found).write_csv(unfinished)
    os.replace(unfinished, table)
    tracker.log_artifact(table)
