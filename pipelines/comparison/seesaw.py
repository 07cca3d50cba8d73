"""Which tasks rose and which fell against single-task networks, and how sure that is.

The gain of a network on a task is its metric less that of the single-task networks, turned so that
larger is better (multi-task gain; PLE, RecSys 2020, equation 11). Its interval comes from a paired
bootstrap: users are drawn with replacement, all of a user's rows together, and both networks are
measured on the same draw. What the networks of several seeds gain is averaged before the interval
is taken, so it says what other users might change; the spread over seeds is told apart.

u  drawing unit: a group, or a row where there are no groups      c  times each unit was drawn
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.metrics import (
    HIGHER_IS_BETTER,
    MEANS,
    Predictions,
    TaskRows,
    areas_by_group,
    by_task,
    group_aucs,
)

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


@dataclass(frozen=True)
class Gain:
    """How much better than single-task; the interval is None where no draw defines the metric."""

    value: float
    low: float | None
    high: float | None

    @property
    def rises(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low is not None and self.low > 0

    @property
    def falls(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high is not None and self.high < 0

    def percent_of(self, whole: float) -> "Gain":
        """The same in per cent of another number."""
        scale = 100 / abs(whole)
        low, high = (None if end is None else end * scale for end in (self.low, self.high))
        return Gain(self.value * scale, low, high)


@dataclass(frozen=True)
class Standing:
    """A network's metric on a task, by seed, beside that of the single-task networks."""

    values: tuple[float, ...]
    single: tuple[float, ...]
    gains: tuple[Gain, ...]
    gain: Gain
    """Of the mean over seeds."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def percent(self) -> Gain | None:
        """The gain in per cent of single-task's mean; None where that is 0."""
        whole = float(np.mean(self.single))
        return self.gain.percent_of(whole) if whole else None


@dataclass(frozen=True)
class Seesaw:
    """All networks on all tasks."""

    single: str
    """Name of the single-task networks among the others."""
    seeds: tuple[int, ...]
    tasks: dict[str, str]
    """Kind by task."""
    standings: dict[str, dict[Key, Standing]]
    """By network."""
    undefined: dict[Key, str]
    """Why a metric of a task is not defined on these rows."""

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(self.standings)

    def keys(self, place: int) -> list[Key]:
        """The first or second metric of every task."""
        return [(task, METRICS[kind][place]) for task, kind in self.tasks.items()]

    def judged(self, network: str) -> dict[str, Standing]:
        """By task, in the metric that it is judged by; tasks whose metric is defined."""
        by_key = self.standings[network]
        return {
            task: by_key[task, metric] for task, metric in self.keys(0) if (task, metric) in by_key
        }

    def best(self, key: Key) -> set[str]:
        """The networks with the best mean; several where they are equal."""
        means = {n: s[key].mean for n, s in self.standings.items() if key in s}
        top = (max if key[1] in HIGHER_IS_BETTER else min)(means.values(), default=None)
        return {network for network, mean in means.items() if mean == top}

    def wins(self, network: str) -> list[str]:
        """Tasks on which the network is the best."""
        return [key[0] for key in self.keys(0) if network in self.best(key)]

    def rises(self, network: str) -> list[str]:
        """Tasks that gain."""
        return [task for task, standing in self.judged(network).items() if standing.gain.rises]

    def falls(self, network: str) -> list[str]:
        """Tasks that lose."""
        return [task for task, standing in self.judged(network).items() if standing.gain.falls]

    def mean_gain(self, network: str) -> float | None:
        """Mean over tasks of the gain in per cent of single-task's value."""
        percents = [s.percent.value for s in self.judged(network).values() if s.percent]
        return float(np.mean(percents)) if percents else None

    def ranked(self) -> list[str]:
        """Networks by mean gain, the best first."""
        gains = {network: self.mean_gain(network) for network in self.networks}
        return sorted(gains, key=lambda network: -(gains[network] or 0.0))


def standings(
    samples: Mapping[str, Sequence[Samples]], single: str
) -> dict[str, dict[Key, Standing]]:
    """By network, task and metric; `samples` has one entry a seed, in the same order for all."""
    return {
        network: {key: _standing(key, seeds, samples[single]) for key in seeds[0]}
        for network, seeds in samples.items()
    }


def _standing(key: Key, network: Sequence[Samples], single: Sequence[Samples]) -> Standing:
    ours, theirs = (np.stack([seed[key] for seed in runs]) for runs in (network, single))
    gains = (ours - theirs) * (1 if key[1] in HIGHER_IS_BETTER else -1)
    return Standing(
        tuple(ours[:, 0].tolist()),
        tuple(theirs[:, 0].tolist()),
        tuple(_gain(seed) for seed in gains),
        _gain(gains.mean(0)),
    )


def _gain(samples: np.ndarray) -> Gain:
    """From the value on the rows, then on each draw."""
    drawn = samples[1:][np.isfinite(samples[1:])]
    if not len(drawn):
        return Gain(float(samples[0]), None, None)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Gain(float(samples[0]), float(low), float(high))


def pareto(points: np.ndarray) -> np.ndarray:
    """Of `(points, objectives)`, larger being better: which points no other one beats, which would
    be at least as good in all objectives and better in one."""
    as_good = np.all(points[None] >= points[:, None], 2)
    better = np.any(points[None] > points[:, None], 2)
    return np.logical_not(np.any(as_good & better, 1))


def resample(
    predictions: Predictions,
    resamples: int = RESAMPLES,
    metrics: Mapping[str, Sequence[str]] = METRICS,
) -> Samples:
    """Every metric of every task on the rows and on draws of them; `metrics` by kind of task."""
    count, unit = units(predictions.group)
    measured = [
        (rows, unit[observed], metric)
        for rows, observed in zip(by_task(predictions), predictions.observed.T, strict=True)
        for metric in metrics[rows.task.kind]
        if undefined(rows, metric) is None
    ]
    values_of: dict[Key, list[np.ndarray]] = {(m[0].task.name, m[2]): [] for m in measured}
    for times in _draws(count, len(unit), resamples):
        for rows, unit_of_row, metric in measured:
            values = _measure(metric, rows, unit_of_row, times)
            values_of[rows.task.name, metric].append(values)
    return {key: np.concatenate(parts) for key, parts in values_of.items()}


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
    weight = _session_weights(rows) if metric == "s_log_loss" else rows.weight
    means = _means(_per_row(metric, rows), weight, unit, times)
    return np.sqrt(means) if metric == "rmse" else means


def _session_weights(rows: TaskRows) -> np.ndarray:
    """Of each row, so that those of a session sum to 1: a session counts once."""
    _, session = np.unique(rows.session, return_inverse=True)
    whole = np.bincount(session, rows.weight)[session]
    return rows.weight / np.where(whole > 0, whole, 1.0)


def _per_row(metric: str, rows: TaskRows) -> np.ndarray:
    """What the metric averages over rows."""
    if metric == "rmse":
        return (rows.scores - rows.labels) ** 2
    return MEANS[metric](rows) if metric in MEANS else rows.losses


def _means(
    values: np.ndarray, weight: np.ndarray, unit: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Σ c w v / Σ c w, from the sums of each unit."""
    total, whole = (
        times @ np.bincount(unit, of_row, times.shape[1]) for of_row in (weight * values, weight)
    )
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
    areas, weights, group = _areas(rows, unit)
    drawn = times[:, group]
    return _divide(drawn @ (areas * weights), drawn @ weights)


def _areas(rows: TaskRows, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
