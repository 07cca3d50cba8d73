"""Networks by their mean gain over tasks, and how much of that order is sure.

The mean gain is the mean over tasks of the gain in per cent of single-task's value. No task's tail
carries it: a regression counts with its mean absolute error, for one row in a hundred may hold half
of a squared error, and a task with fewer than `FEW` positive rows does not count.

A network's rank is an interval: one more than the networks that are clearly better, to all but
those that are clearly worse, every pair compared, all pairs together at 95 % (Mogstad et al.,
"Inference for ranks", Review of Economic Studies 91, 2024). Networks whose ranks hold the same
places cannot be told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fulcrum.pipelines.comparison.gains import Gain, judge, spread
from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER
from fulcrum.pipelines.quality.pulls import METRICS, Key, Samples, level_of_each

FEW = 30
"""Positive rows."""
ROBUST = {"rmse": "mae"}
"""Metrics that a tail carries, and what counts in the mean gain instead."""


@dataclass(frozen=True)
class Order:
    """All networks."""

    gains: dict[str, Gain]
    """Mean gain in per cent, by network, the best first; empty where no task counts."""
    ranks: dict[str, tuple[int, int]]
    """The first and the last place that a network may have."""
    tasks: tuple[str, ...]
    """Those that count."""

    @property
    def first(self) -> list[str]:
        """Networks that may be the first."""
        return [network for network, (best, _) in self.ranks.items() if best == 1]


def put_in_order(
    samples: Mapping[str, Sequence[Samples]],
    single: str,
    tasks: Mapping[str, str],
    positives: Mapping[str, int],
    relevant: float,
) -> Order:
    """`samples` has one entry a seed, in the same order for all; `tasks` by kind, `positives` are
    the positive rows of those that have any, `relevant` is in per cent."""
    keys = _keys(samples[single][0], tasks, positives)
    whole = {key: float(np.mean([seed[key][0] for seed in samples[single]])) for key in keys}
    keys = [key for key in keys if whole[key]]
    everyone = list(samples)
    if not keys:
        return Order({}, dict.fromkeys(everyone, (1, len(everyone))), ())
    scores = {
        network: np.stack([np.mean([_percent(s, k, whole[k]) for k in keys], 0) for s in seeds])
        for network, seeds in samples.items()
    }
    chance = spread({network: of_seeds[:, 0].tolist() for network, of_seeds in scores.items()})

    def compared(a: str, b: str, level: float, least: float = 0.0) -> Gain:
        half = None if chance is None else 0.0 if a == b else chance.half(a, b, level)
        return judge(scores[a].mean(0) - scores[b].mean(0), half, level, least)

    level = level_of_each(len(everyone) - 1)
    gains = {network: compared(network, single, level, relevant) for network in everyone}
    by_gain = sorted(everyone, key=lambda network: -gains[network].value)
    pairs = list(combinations(by_gain, 2))
    ranks = {network: [1, len(everyone)] for network in by_gain}
    for better, worse in pairs:
        if compared(better, worse, level_of_each(len(pairs))).rises:
            ranks[better][1] -= 1
            ranks[worse][0] += 1
    return Order(
        {network: gains[network] for network in by_gain},
        {network: (first, last) for network, (first, last) in ranks.items()},
        tuple(task for task, _ in keys),
    )


def _keys(known: Samples, tasks: Mapping[str, str], positives: Mapping[str, int]) -> list[Key]:
    """Tasks that count, and the metric in which each does."""
    return [
        (task, metric)
        for task, kind in tasks.items()
        if positives.get(task, FEW) >= FEW
        and (task, metric := ROBUST.get(METRICS[kind][0], METRICS[kind][0])) in known
    ]


def _percent(samples: Samples, key: Key, whole: float) -> np.ndarray:
    """In per cent of another number, larger being better."""
    sign = 1 if key[1] in HIGHER_IS_BETTER else -1
    return sign * 100 / abs(whole) * samples[key]
