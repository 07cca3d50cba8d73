"""Scored rows, as columns that are read when they are asked for.

Whoever measures them holds the columns of one task at a time, so thirty tasks need the memory of
one. Columns are named as in a prepared shard:

score.<column>                          final: a probability, or a value in the label's unit
loss.<task>                             the row's own training loss, 0 where not observed
label.<task>, observed.<task>
row.weight, row.group, row.session
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fulcrum.features.declared.session import SESSION
from fulcrum.features.errors import TrainError
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.tasks import TASKS

WEIGHT, GROUP = "row.weight", "row.group"


class Predictions(ABC):
    """Scored rows, in file order."""

    layout: Layout

    @abstractmethod
    def column(self, name: str) -> np.ndarray:
        """`(rows,)` of one column, read anew at each call."""

    def scores_of(self, task: TaskSpec) -> np.ndarray:
        """`(rows, scores)` of a task: one score, or one a class."""
        return np.stack([self.column(f"score.{name}") for name in task.score_columns], 1)

    def __len__(self) -> int:
        return len(self.column(WEIGHT))


@dataclass(frozen=True)
class TaskRows:
    """The observed rows of one task, in float64."""

    task: TaskSpec
    scores: np.ndarray
    """`(rows,)`, or `(rows, classes)` for a task with classes."""
    losses: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    session: np.ndarray
    observed: np.ndarray
    """`(all rows,)` bool: which of all rows these are."""


def by_task(predictions: Predictions) -> Iterator[TaskRows]:
    """The observed rows of each task, one task after the other. Raises TrainError where a score or
    loss is not finite: sorted or compared, NaN would pass for a number."""
    for task in predictions.layout.tasks:
        yield _rows(predictions, task)


def _rows(predictions: Predictions, task: TaskSpec) -> TaskRows:
    observed = predictions.column(f"observed.{task.name}")

    def numbers(column: np.ndarray) -> np.ndarray:
        return column[observed].astype(np.float64)

    scores = numbers(predictions.scores_of(task))
    losses = numbers(predictions.column(f"loss.{task.name}"))
    finite = np.isfinite(scores).all(1) & np.isfinite(losses)
    if not finite.all():
        bad, rows = np.sum(~finite), len(finite)
        raise TrainError(
            f"the scores of {task.name} are not finite in {bad:,} of {rows:,} rows: lower "
            "train.dense.lr or train.sparse.lr, or look for extreme inputs"
        )
    return TaskRows(
        task,
        scores if task.classes else scores[:, 0],
        losses,
        numbers(predictions.column(f"label.{task.name}")),
        numbers(predictions.column(WEIGHT)),
        predictions.column(GROUP)[observed],
        predictions.column(SESSION)[observed],
        observed,
    )


def row_loss(
    task: TaskSpec, scores: np.ndarray, labels: np.ndarray, observed: np.ndarray
) -> np.ndarray:
    """`(rows,)` training loss of final scores `(rows, scores)`, 0 where not observed."""
    return np.where(observed, TASKS[task.kind].row_loss(task, scores, labels), 0.0)
