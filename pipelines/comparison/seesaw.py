"""Which tasks rose and which fell against single-task networks, and how sure that is.

The gain of a network on a task is its metric less that of the single-task networks, turned so that
larger is better (multi-task gain; PLE, RecSys 2020, equation 11). Its interval comes from a paired
bootstrap: users are drawn with replacement, all of a user's rows together, and both networks are
measured on the same draw. What the networks of several seeds gain is averaged before the interval
is taken, so it says what other users might change; the spread over seeds is told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER
from fulcrum.pipelines.quality.resamples import METRICS, Key, Samples, interval


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
    low, high = interval(samples) or (None, None)
    return Gain(float(samples[0]), low, high)


def pareto(points: np.ndarray) -> np.ndarray:
    """Of `(points, objectives)`, larger being better: which points no other one beats, which would
    be at least as good in all objectives and better in one."""
    as_good = np.all(points[None] >= points[:, None], 2)
    better = np.any(points[None] > points[:, None], 2)
    return np.logical_not(np.any(as_good & better, 1))
