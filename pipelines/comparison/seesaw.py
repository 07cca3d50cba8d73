"""Which tasks rose and which fell against single-task networks, and how sure that is.

The gain of a network on a task is its metric less that of the single-task networks, turned so that
larger is better (multi-task gain; PLE, RecSys 2020, equation 11), both measured on the same rows.
What is a clear gain is said in `gains`, what order of networks is sure in `order`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum.pipelines.comparison.gains import RELEVANT, Gain, judge, spread
from fulcrum.pipelines.comparison.order import Order, put_in_order
from fulcrum.pipelines.figures.run import Bar
from fulcrum.pipelines.quality.differences import better
from fulcrum.pipelines.quality.pulls import METRICS, Key, Samples, level_of_each


@dataclass(frozen=True)
class Standing:
    """A network's metric on a task, by seed, beside that of the single-task networks."""

    values: tuple[float, ...]
    single: tuple[float, ...]
    gains: tuple[float, ...]
    """Of each seed."""
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
    order: Order
    positives: dict[str, int]
    """Rows, of each task that has such."""
    relevant: float = RELEVANT
    """Per cent of single-task's value below which a gain is not marked."""

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(self.standings)

    @property
    def comparisons(self) -> int:
        """Gains whose intervals hold together."""
        return sum(len(s) for network, s in self.standings.items() if network != self.single)

    def keys(self, place: int) -> list[Key]:
        """The first or second metric of every task."""
        return [(task, METRICS[kind][place]) for task, kind in self.tasks.items()]

    def judged(self, network: str) -> dict[str, Standing]:
        """By task, in the metric that it is judged by; tasks whose metric is defined."""
        by_key = self.standings[network]
        return {
            task: by_key[task, metric] for task, metric in self.keys(0) if (task, metric) in by_key
        }

    def rises(self, network: str) -> list[str]:
        """Tasks that gain."""
        return [task for task, standing in self.judged(network).items() if standing.gain.rises]

    def falls(self, network: str) -> list[str]:
        """Tasks that lose."""
        return [task for task, standing in self.judged(network).items() if standing.gain.falls]

    def bars(self, network: str) -> dict[str, Bar]:
        """By task, the gain in per cent as it is drawn."""
        gains = {task: standing.percent for task, standing in self.judged(network).items()}
        return {t: Bar(g.value, g.low, g.high, g.mark) for t, g in gains.items() if g is not None}

    def mean_gain(self, network: str) -> Gain | None:
        """Over tasks, in per cent of single-task's value; None where no task counts."""
        return self.order.gains.get(network)

    def rank(self, network: str) -> str:
        """The places that a network may have: `2-5`."""
        first, last = self.order.ranks[network]
        return str(first) if first == last else f"{first}-{last}"

    def ranked(self) -> list[str]:
        """Networks by mean gain, the best first; see `rank` for what that order is worth."""
        return list(self.order.ranks)


def weigh_up(
    samples: Mapping[str, Sequence[Samples]],
    single: str,
    seeds: tuple[int, ...],
    tasks: dict[str, str],
    undefined: dict[Key, str],
    positives: dict[str, int],
    relevant: float = RELEVANT,
) -> Seesaw:
    """All networks against one of them; `samples` has one entry a seed, in the same order for
    all."""
    return Seesaw(
        single,
        seeds,
        tasks,
        standings(samples, single, relevant),
        undefined,
        put_in_order(samples, single, tasks, positives, relevant),
        positives,
        relevant,
    )


def standings(
    samples: Mapping[str, Sequence[Samples]], single: str, relevant: float = RELEVANT
) -> dict[str, dict[Key, Standing]]:
    """By network, task and metric, the intervals of all of them holding together."""
    keys = list(samples[single][0])
    level = level_of_each((len(samples) - 1) * len(keys))
    found: dict[str, dict[Key, Standing]] = {network: {} for network in samples}
    for key in keys:
        values = {n: tuple(float(seed[key][0]) for seed in seeds) for n, seeds in samples.items()}
        chance, whole = spread(values), abs(float(np.mean(values[single])))
        for network, seeds in samples.items():
            half = None if chance is None else chance.half(network, single, level)
            pairs = zip(seeds, samples[single], strict=True)
            gains = np.stack([better(a[key], b[key], key[1]) for a, b in pairs])
            found[network][key] = Standing(
                values[network],
                values[single],
                tuple(gains[:, 0].tolist()),
                Gain(0.0, 0.0, 0.0)
                if network == single
                else judge(gains.mean(0), half, level, relevant / 100 * whole),
            )
    return found


def pareto(points: np.ndarray) -> np.ndarray:
    """Of `(points, objectives)`, larger being better: which points no other one beats, which would
    be at least as good in all objectives and better in one."""
    as_good = np.all(points[None] >= points[:, None], 2)
    better = np.any(points[None] > points[:, None], 2)
    return np.logical_not(np.any(as_good & better, 1))
