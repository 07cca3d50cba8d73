"""How sure a metric is: its value on the rows of a split, and how far each user moves it.

A user's pull is the derivative of the metric by how often the user is taken, all rows together: the
infinitesimal jackknife (Jaeckel 1972; Efron, "The Jackknife, the Bootstrap and Other Resampling
Plans", 1982, chapter 6). It is what draws of users with replacement come to when there are very
many of them, and it is linear: the pulls of a difference or a mean of metrics are the difference or
the mean of their pulls, so that networks measured on the same rows are paired, and tasks, too.

An interval says what other users would change. What another seed would change is not in it. Draws
themselves are in `resamples`, for a run on its own.

u  unit: a group, or a row where there are no groups    I_u  its pull, Σ I = 0    n  units

    e² = n / (n - 1) Σ I²      s = Σ I³ / (Σ I²)^1.5      value - e g⁻¹(t),  value - e g⁻¹(-t)

s is the skewness of the value, g(x) = x + s/3 x² + s²/27 x³ + s/6 takes it out of the studentised
value (Hall, "On the removal of skewness by transformation", JRSS B 54, 1992), and t is Student's
with n - 1 degrees.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fulcrum.pipelines.quality.predictions import GROUP, Predictions, TaskRows, by_task
from fulcrum.pipelines.quality.resamples import (
    LEVEL,
    METRICS,
    Samples,
    areas,
    per_row,
    session_weights,
    undefined,
    units,
)

PARTS = 20_000
"""Pulls kept of a metric. Of more units, each pull is the sum of several units', which leaves
variance and skewness what they are."""


def with_pulls(predictions: Predictions, metrics: Mapping[str, Sequence[str]] = METRICS) -> Samples:
    """By task and metric, `(1 + parts,)`: the value on the rows, then the pulls of the units; a
    metric that is not defined on the rows has no entry. `metrics` by kind of task."""
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
        of_group, weights, group = areas(rows, unit)
        return *_mean(of_group, weights), group
    weight = session_weights(rows) if metric == "s_log_loss" else rows.weight
    value, pulls = _mean(per_row(metric, rows), weight)
    if metric != "rmse":
        return value, pulls, unit
    root = np.sqrt(value)
    return root, pulls / (2 * root) if root else pulls, unit


def _mean(values: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Σ w v / Σ w, and the pull of each value."""
    mean = np.average(values, weights=weight)
    return float(mean), weight * (values - mean) / weight.sum()


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
