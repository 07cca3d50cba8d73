"""How sure a metric is: its value on the rows of a split and on draws of the users behind them.

Users are drawn with replacement, all of a user's rows together (the cluster bootstrap), so an
interval says what other users would change. What another seed would change is not in it.

u  drawing unit: a group, or a row where there are no groups      c  times each unit was drawn
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.metrics import (
    MEANS,
    Metrics,
    areas_by_group,
    group_aucs,
)
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, TaskRows, by_task

RESAMPLES = 200
LEVEL = 0.95
"""Of every interval."""
SEED = 0
"""Of the draws: the same for every network."""
CELLS = 2_000_000
"""Numbers held at once for a part of the resamples."""
METRICS: dict[str, tuple[str, str]] = {kind: task.compared_by for kind, task in TASKS.items()}
"""By kind of task; the first is the one that a task is judged by."""

Key = tuple[str, str]
"""Task and metric."""
Samples = dict[Key, np.ndarray]
"""By task and metric, `(1 + resamples,)`: the value on the rows, then on each draw; NaN where the
metric is not defined on a draw. A metric that is not defined on the rows has no entry."""


def resample(
    predictions: Predictions,
    resamples: int = RESAMPLES,
    metrics: Mapping[str, Sequence[str]] = METRICS,
) -> Samples:
    """Every metric of every task on the rows and on draws of them; `metrics` by kind of task. The
    draws are the same for each task: they are made again, so that one task's rows are held."""
    count, unit = units(predictions.column(GROUP))
    samples: Samples = {}
    for rows in by_task(predictions):
        defined = [m for m in metrics[rows.task.kind] if undefined(rows, m) is None]
        if not defined:
            continue
        unit_of_row = unit[rows.observed]
        values_of: dict[str, list[np.ndarray]] = {metric: [] for metric in defined}
        for times in _draws(count, len(unit), resamples):
            for metric, values in values_of.items():
                values.append(_measure(metric, rows, unit_of_row, times))
        samples |= {(rows.task.name, m): np.concatenate(v) for m, v in values_of.items()}
    return samples


def interval(samples: np.ndarray) -> tuple[float, float] | None:
    """Ends of the percentile interval of `(1 + resamples,)` values, the first on the rows
    themselves; None where no draw defines the metric."""
    drawn = samples[1:][np.isfinite(samples[1:])]
    if not len(drawn):
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def evidence(predictions: Predictions) -> Metrics:
    """What the metrics rest on: `units` drawn; of each task with two classes `positives/<task>`, a
    count of rows; and of the metric that a task is judged by the ends of its interval,
    `<metric>_low/<task>` and `<metric>_high/<task>`."""
    judged_by = {kind: (first,) for kind, (first, _) in METRICS.items()}
    facts: Metrics = {"units": units(predictions.column(GROUP))[0]}
    for rows in by_task(predictions):
        if TASKS[rows.task.kind].two_classes:
            facts[f"positives/{rows.task.name}"] = int(np.sum(rows.labels > 0))
    for (task, metric), samples in resample(predictions, metrics=judged_by).items():
        if ends := interval(samples):
            facts |= dict(zip((f"{metric}_low/{task}", f"{metric}_high/{task}"), ends, strict=True))
    return facts


def units(group: np.ndarray) -> tuple[int, np.ndarray]:
    """How many units there are to draw, and which of them each row belongs to: its group, or the
    row itself where it is nobody's, and where all rows are of one group."""
    named = group != NOBODY
    names, of_named = np.unique(group[named], return_inverse=True)
    if len(names) < 2:
        return len(group), np.arange(len(group))
    count = len(names) + len(group) - len(of_named)
    unit = np.empty(len(group), np.int64)
    unit[named], unit[~named] = of_named, np.arange(len(names), count)
    return count, unit


def undefined(rows: TaskRows, metric: str) -> str | None:
    """Why a metric cannot be taken of these rows; None where it can."""
    if not rows.weight.sum():
        return "no rows"
    if metric == "s_log_loss":
        return None if len(np.unique(rows.session)) > 1 else "no sessions"
    if metric not in ("auc", "grouped_auc"):
        return None
    if not 0 < rows.weight[rows.labels > 0].sum() < rows.weight.sum():
        return "one class only"
    if metric == "auc":
        return None
    if len(np.unique(rows.group[rows.group != NOBODY])) < 2:
        return "no groups"
    return None if len(areas_by_group(rows)[0]) else "no group with both classes"


def _draws(count: int, rows: int, resamples: int) -> Iterator[np.ndarray]:
    """`(part, count)` times each unit is taken, part by part: once each, then as drawn."""
    random, part = np.random.default_rng(SEED), max(1, CELLS // max(count, rows))
    yield np.ones((1, count))
    for start in range(0, resamples, part):
        drawn = [
            random.integers(0, count, count) for _ in range(start, min(start + part, resamples))
        ]
        yield np.stack([np.bincount(unit, minlength=count).astype(float) for unit in drawn])


def _measure(metric: str, rows: TaskRows, unit: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`(part,)` values of one metric, one for each row of `times`."""
    if metric == "auc":
        return weighted_aucs(rows.scores, rows.labels, rows.weight * times[:, unit])
    if metric == "grouped_auc":
        return _grouped_aucs(rows, unit, times)
    weight = session_weights(rows) if metric == "s_log_loss" else rows.weight
    if metric == "calibration":
        return _ratios(rows.weight * rows.scores, rows.weight * rows.labels, unit, times)
    means = _means(per_row(metric, rows), weight, unit, times)
    return np.sqrt(means) if metric == "rmse" else means


def session_weights(rows: TaskRows) -> np.ndarray:
    """Of each row, so that those of a session sum to 1: a session counts once."""
    _, session = np.unique(rows.session, return_inverse=True)
    whole = np.bincount(session, rows.weight)[session]
    return rows.weight / np.where(whole > 0, whole, 1.0)


def per_row(metric: str, rows: TaskRows) -> np.ndarray:
    """What the metric averages over rows."""
    if metric == "rmse":
        return (rows.scores - rows.labels) ** 2
    return MEANS[metric](rows) if metric in MEANS else rows.losses


def _means(
    values: np.ndarray, weight: np.ndarray, unit: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Σ c w v / Σ c w."""
    return _ratios(weight * values, weight, unit, times)


def _ratios(
    above: np.ndarray, below: np.ndarray, unit: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Σ c a / Σ c b, from the sums of each unit."""
    total, whole = (times @ np.bincount(unit, of_row, times.shape[1]) for of_row in (above, below))
    return _divide(total, whole)


def weighted_aucs(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`(part,)` areas under the ROC curve for `(part, rows)` weights, ties counting half.

    Rows are sorted once; every draw is one cumulative sum over the distinct scores.
    """
    order = np.argsort(scores, kind="stable")
    scores, weights, positive = scores[order], weights[:, order], labels[order] > 0
    tied = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    positives = np.add.reduceat(weights * positive, tied, axis=1)
    negatives = np.add.reduceat(weights * ~positive, tied, axis=1)
    below = np.cumsum(negatives, 1) - negatives
    pairs = (positives * (below + 0.5 * negatives)).sum(1)
    return _divide(pairs, positives.sum(1) * negatives.sum(1))


def _grouped_aucs(rows: TaskRows, unit: np.ndarray, times: np.ndarray) -> np.ndarray:
    """A group's own area does not change with how often it is drawn: its weight does."""
    of_group, weights, group = areas(rows, unit)
    drawn = times[:, group]
    return _divide(drawn @ (of_group * weights), drawn @ weights)


def areas(rows: TaskRows, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, weight and unit of each group with both classes."""
    areas, weights = group_aucs(rows.scores, rows.labels, rows.weight, unit)
    positive, negative = (
        np.bincount(unit, rows.weight * (rows.labels > 0 if up else rows.labels <= 0))
        for up in (True, False)
    )
    return areas, weights, np.flatnonzero((positive > 0) & (negative > 0))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NaN where the divisor is 0."""
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
