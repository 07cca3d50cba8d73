"""How sure a metric is: its value on the rows of a split, and how far each user moves it.

A user's pull is the derivative of the metric by how often the user is taken, all rows together: the
infinitesimal jackknife (Jaeckel 1972; Efron, "The Jackknife, the Bootstrap and Other Resampling
Plans", 1982, chapter 6). It is what draws of users with replacement come to when there are very
many of them, and it is linear: the pulls of a difference or a mean of metrics are the difference or
the mean of their pulls, so that models measured on the same rows are paired, and tasks, too.

An interval says what other users would change. What another seed would change is not in it.

u  unit: a group, or a row where there are no groups    I_u  its pull, Σ I = 0    n  units

    e² = n / (n - 1) Σ I²      s = Σ I³ / (Σ I²)^1.5      value - e g⁻¹(t),  value - e g⁻¹(-t)

s is the skewness of the value, g(x) = x + s/3 x² + s²/27 x³ + s/6 takes it out of the studentised
value (Hall, "On the removal of skewness by transformation", JRSS B 54, 1992), and t is Student's
with n - 1 degrees. Percentiles of draws, which have the tail on the wrong side, miss more often
where some users weigh much.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.metrics import MEANS, areas_by_group, group_aucs
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, TaskRows, by_task
from fulcrum.pipelines.quality.units import units

LEVEL = 0.95
"""Of every interval."""
PARTS = 20_000
"""Pulls kept of a metric. Of more units, each pull is the sum of several units', which leaves
variance and skewness what they are."""
METRICS: dict[str, tuple[str, str]] = {kind: task.compared_by for kind, task in TASKS.items()}
"""By kind of task; the first is the one that a task is judged by."""
JUDGED = {kind: (first,) for kind, (first, _) in METRICS.items()}
"""The first alone."""

Key = tuple[str, str]
"""Task and metric."""
Samples = dict[Key, np.ndarray]
"""By task and metric, `(1 + parts,)`: the value on the rows, then the pulls of the units. A metric
that is not defined on the rows has no entry."""


def with_pulls(predictions: Predictions, metrics: Mapping[str, Sequence[str]] = METRICS) -> Samples:
    """Every metric of every task; `metrics` by kind of task."""
    count, unit = units(predictions.column(GROUP))
    samples = {}
    for rows in by_task(predictions):
        for metric in metrics[rows.task.kind]:
            if undefined(rows, metric) is None:
                value, pulls, of_unit = _measure(metric, rows, unit[rows.observed])
                parts = np.bincount(of_unit % PARTS, pulls, min(count, PARTS))
                samples[rows.task.name, metric] = np.append(value, parts)
    return samples


def interval(samples: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """Ends of the interval of a value, from `(1 + parts,)`: the value, then the pulls; None where
    there is one unit."""
    value, pulls = float(samples[0]), samples[1:]
    count, square = len(pulls), float(pulls @ pulls)
    if count < 2:
        return None
    if square == 0:
        return value, value
    error = np.sqrt(square * count / (count - 1))
    skewness = float(np.sum(pulls**3)) / square**1.5
    t = float(stats.t.ppf(0.5 + level / 2, count - 1))
    low, high = (value - error * _with_skewness(end, skewness) for end in (t, -t))
    return float(low), float(high)


def level_of_each(comparisons: int) -> float:
    """Of an interval, so that so many of them hold together at `LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def undefined(rows: TaskRows, metric: str) -> str | None:
    """Why a metric cannot be taken of these rows; None where it can."""
    if not rows.weight.sum():
        return "no rows"
    if metric == "s_log_loss":
        return None if len(np.unique(rows.session)) > 1 else "no sessions"
    if metric == "calibration":
        return None if rows.weight @ rows.labels else "no label above 0"
    if metric not in ("auc", "grouped_auc"):
        return None
    if not 0 < rows.weight[rows.labels > 0].sum() < rows.weight.sum():
        return "one class only"
    if metric == "auc":
        return None
    if len(np.unique(rows.group[rows.group != NOBODY])) < 2:
        return "no groups"
    return None if len(areas_by_group(rows)[0]) else "no group with both classes"


def _with_skewness(y: float, skewness: float) -> float:
    """g⁻¹(y)."""
    if abs(skewness) < 1e-6:  # the limit; the quotient below would be rounding errors
        return y
    return 3 / skewness * float(np.cbrt(1 + skewness * (y - skewness / 6)) - 1)


def _measure(metric: str, rows: TaskRows, unit: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """A metric, pulls, and the unit of each pull."""
    if metric == "auc":
        return *area(rows.scores, rows.labels, rows.weight), unit
    if metric == "grouped_auc":
        of_group, weights, group = _areas(rows, unit)
        return *_ratio(weights * of_group, weights), group
    weight = _session_weights(rows) if metric == "s_log_loss" else rows.weight
    if metric == "calibration":
        return *_ratio(weight * rows.scores, weight * rows.labels), unit
    value, pulls = _ratio(weight * _per_row(metric, rows), weight)
    if metric != "rmse":
        return value, pulls, unit
    root = np.sqrt(value)
    return root, pulls / (2 * root) if root else pulls, unit


def _ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, np.ndarray]:
    """Σ a / Σ b, and the pull of each part of it."""
    whole = below.sum()
    ratio = above.sum() / whole
    return float(ratio), (above - ratio * below) / whole


def _per_row(metric: str, rows: TaskRows) -> np.ndarray:
    """What the metric averages over rows."""
    if metric == "rmse":
        return (rows.scores - rows.labels) ** 2
    return MEANS[metric](rows) if metric in MEANS else rows.losses


def _session_weights(rows: TaskRows) -> np.ndarray:
    """Of each row, so that those of a session sum to 1: a session counts once."""
    _, session = np.unique(rows.session, return_inverse=True)
    whole = np.bincount(session, rows.weight)[session]
    return rows.weight / np.where(whole > 0, whole, 1.0)


def _areas(rows: TaskRows, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, weight and unit of each group with both classes."""
    areas, weights = group_aucs(rows.scores, rows.labels, rows.weight, unit)
    positive, negative = (
        np.bincount(unit, rows.weight * (rows.labels > 0 if up else rows.labels <= 0))
        for up in (True, False)
    )
    return areas, weights, np.flatnonzero((positive > 0) & (negative > 0))


def area(scores: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under the ROC curve, ties counting half, and the pull of each row: of a positive one by
    how much of the negative weight it is above, of a negative one by how much positive weight is
    above it, each less the area (DeLong et al., Biometrics 44, 1988)."""
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = np.where(labels > 0, weight, 0.0), np.where(labels > 0, 0.0, weight)
    positives, negatives = np.bincount(place, positive), np.bincount(place, negative)
    up, down = positives.sum(), negatives.sum()
    below = (np.cumsum(negatives) - negatives / 2) / down
    above = 1 - (np.cumsum(positives) - positives / 2) / up
    value = float(positives @ below / up)
    pulls = positive / up * (below[place] - value) + negative / down * (above[place] - value)
    return value, pulls
