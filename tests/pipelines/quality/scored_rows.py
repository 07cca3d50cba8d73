"""Rows of three tasks with scores of a known skill."""

import numpy as np

from fulcrum.features.layout import Layout, TaskSpec
from tests.pipelines.quality.arrays import Arrays

TASKS = (
    TaskSpec(name="click", kind="binary"),
    TaskSpec(name="watch", kind="regression"),
    TaskSpec(name="page", kind="multiclass", classes=("a", "b", "c")),
)
KINDS = {task.name: task.kind for task in TASKS}
JUDGED = [("click", "auc"), ("watch", "rmse"), ("page", "accuracy")]
SECOND = [("click", "grouped_auc"), ("watch", "mae"), ("page", "log_loss")]


def predictions(
    rows: int = 200, groups: int | None = 20, skill: float = 0.5, seed: int = 0
) -> Arrays:
    """Rows whose scores tell `skill` of the labels; the rows follow from nothing else."""
    random = np.random.default_rng(0)
    labels = np.stack(
        [random.random(rows) < 0.4, random.normal(10, 3, rows), random.integers(0, 3, rows)], 1
    ).astype(float)
    observed = random.random((rows, 3)) < 0.8
    weight = random.uniform(0.5, 1.5, rows)
    group = np.zeros(rows, int) if groups is None else random.integers(0, groups, rows) + 1
    noise = np.random.default_rng([1, seed])
    click = np.round(0.5 + skill * (labels[:, 0] - 0.5) + noise.normal(0, 0.3, rows), 1)
    watch = 10 + skill * (labels[:, 1] - 10)
    page = noise.random((rows, 3)) + skill * np.eye(3)[labels[:, 2].astype(int)]
    page /= page.sum(1, keepdims=True)
    likelihood = np.take_along_axis(page, labels[:, 2:].astype(int), 1)
    losses = np.concatenate([np.ones((rows, 2)), -np.log(likelihood)], 1) * observed
    scores = np.column_stack([click, watch, page])
    layout = Layout(tables=(), tasks=TASKS)
    return Arrays(layout, scores, losses, labels, observed, weight, group, np.zeros(rows, int))
