"""The predictor that knows only the training split: the positive rate, the mean label, or the share
of each class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.predictions import Predictions, row_loss


@dataclass(frozen=True)
class Constant(Predictions):
    """The same score for each of the rows."""

    layout: Layout
    values: Mapping[str, float]
    """By score column."""
    rows: Predictions
    """Whose labels, weights and groups these are."""

    def column(self, name: str) -> np.ndarray:
        what, _, of = name.partition(".")
        if what == "score":
            return np.full(len(self.rows), self.values[of])
        if what != "loss":
            return self.rows.column(name)
        [task] = (task for task in self.layout.tasks if task.name == of)
        labels, observed = (self.rows.column(f"{part}.{of}") for part in ("label", "observed"))
        return row_loss(task, self.scores_of(task), labels, observed)


def constant(dataset: PreparedDataset, predictions: Predictions) -> Constant:
    """The same rows as it scores them. Raises DataError for a task of which the training split
    observes nothing."""
    layout = dataset.state.layout
    train = pl.scan_parquet(dataset.shards("train"), glob=False)
    row = train.select(_constant(task) for task in layout.tasks).collect()
    values = np.concatenate([np.ravel(row[task.name].to_list()) for task in layout.tasks])
    if not np.isfinite(values).all():
        raise DataError("the training split has a task without any observed row")
    return Constant(layout, dict(zip(layout.score_columns, values, strict=True)), predictions)


def _constant(task: TaskSpec) -> pl.Expr:
    label, observed = pl.col(f"label.{task.name}"), pl.col(f"observed.{task.name}")
    weight = pl.col("row.weight").cast(pl.Float64).filter(observed)

    def mean(values: pl.Expr) -> pl.Expr:
        return (values.cast(pl.Float64).filter(observed) * weight).sum() / weight.sum()

    return TASKS[task.kind].constant(task, label, mean).alias(task.name)
