"""The data-training loop in which A/B tests of recommenders are biased, played many times over.

In every step some users arrive, each is shown the best of a few videos by their arm's ranking, and
every model takes a step on what its design lets it learn from the users' answers:

    theta <- theta - lr * (1/n) sum_i W(x_i) grad loss(x_i; theta)

Two worlds have no test in them: all users treated, and none. Their difference is the global
treatment effect, and what the difference of arms in the world of a design says beside it is that
design's bias. All worlds see the same users with the same luck.

Si, "Tackling Interference Induced by Data Training Loops in A/B Tests: A Weighted Training
Approach", arXiv 2310.17496; the feed is `loop_feed`. Departures from the paper: the choice
has Gumbel noise, which gives overlap, and the models are warmed up on random choices first, without
which a loop may lock into one of two regimes.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator

from fulcrum.features.config import Config
from fulcrum.pipelines.ab.simulation.estimators import EstimatorChoice
from fulcrum.pipelines.ab.simulation.estimators.base import Estimator
from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from fulcrum.pipelines.ab.simulation.estimators.snapshot import SnapshotConfig
from fulcrum.pipelines.ab.simulation.estimators.splitting import SplittingConfig
from fulcrum.pipelines.ab.simulation.estimators.weighted import WeightedConfig
from fulcrum.pipelines.ab.simulation.loop.feed import WIDTH, Visits, finish_rate, mean_stay, visits

METRICS = ("short share", "stay", "finish")
CHUNK = 10
"""Replications that share arrays and a random generator: the numbers do not depend on how many
processes there are."""

Progress = Callable[[int, int], None]
"""Told how many parts of how many are done."""


class LoopConfig(Config):
    """A test in the loop."""

    designs: dict[str, EstimatorChoice] = {
        "pooling": PoolingConfig(),
        "snapshot": SnapshotConfig(),
        "splitting": SplittingConfig(),
        "weighted": WeightedConfig(),
    }
    """What is compared, by name."""
    shares: tuple[float, ...] = Field((0.5, 0.2), min_length=1)
    """Shares of treated users; each is a study of its own."""
    alpha_control: float = 10.0
    """Weight of finishing in the control's ranking: alpha * P(finish) + stay + noise."""
    alpha_treatment: float = 5.0
    """The same in the treatment's."""
    noise: float = Field(0.3, ge=0)
    """Scale of the ranking's Gumbel noise."""
    videos: int = Field(10, ge=2)
    """Offered to each user."""
    users: int = Field(128, ge=2)
    """Who arrive in a step."""
    lr: float = Field(0.05, gt=0)
    """Of the models' stochastic gradient descent."""
    random_steps: int = Field(300, ge=0)
    """Warm-up steps in which videos are shown at random."""
    warm_steps: int = Field(300, ge=0)
    """Warm-up steps under the control's ranking, after those."""
    steps: int = Field(1000, ge=1)
    """Of the test."""
    replications: int = Field(60, ge=2)
    """How often everything is played."""
    instances: int = Field(1, ge=1)
    """Instances of each arm's model. Users are dealt into as many buckets, and an instance serves
    and learns from its own."""
    seed: int = 0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.users % self.instances:
            raise ValueError(f"{self.users} users do not deal into {self.instances} equal buckets")
        if wrong := [share for share in self.shares if not 0 < share < 1]:
            raise ValueError(f"`shares` has {wrong[0]:g}; expected shares between 0 and 1")
        return self

    @property
    def null(self) -> bool:
        """Whether the arms are the same: an A/A test."""
        return self.alpha_control == self.alpha_treatment


@dataclass(frozen=True)
class Outcome:
    """What one study has seen, a row for every replication."""

    expected: np.ndarray
    """`(replications, worlds, instances, arms, metrics)`: means of what was to be expected of the
    videos that were shown; less noisy than what users did."""
    realised: np.ndarray
    """The same of what users did."""
    squared: np.ndarray
    """Means of its squares."""
    users: np.ndarray
    """`(replications, worlds, instances, arms)`."""
    facts: dict[str, dict[str, float]]
    """What each design says of itself, mean over replications and the second half of the test."""


def worlds(config: LoopConfig) -> tuple[str, ...]:
    """Names of the worlds: all treated, none treated, then the designs'."""
    return ("treatment", "control", *config.designs)


def play(
    config: LoopConfig, share: float, processes: int = 1, progress: Progress = lambda done, of: None
) -> Outcome:
    """Play all replications of the study with that share of treated users."""
    sizes = [min(CHUNK, config.replications - at) for at in range(0, config.replications, CHUNK)]
    jobs = [(config, share, number, size) for number, size in enumerate(sizes)]
    parts: list[Outcome] = []
    if processes == 1:
        for job in jobs:
            parts.append(_chunk(*job))
            progress(len(parts), len(jobs))
        return _join(parts)
    # Forked processes would inherit the threads of torch's pool, which do not survive a fork.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for part in pool.map(_chunk, *zip(*jobs, strict=True)):
            parts.append(part)
            progress(len(parts), len(jobs))
    return _join(parts)


def _join(parts: list[Outcome]) -> Outcome:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    sizes = [len(part.users) for part in parts]
    facts = {
        design: {
            name: float(np.average([part.facts[design][name] for part in parts], weights=sizes))
            for name in first
        }
        for design, first in parts[0].facts.items()
    }
    return Outcome(
        joined("expected"), joined("realised"), joined("squared"), joined("users"), facts
    )


def _chunk(config: LoopConfig, share: float, number: int, replications: int) -> Outcome:
    torch.set_num_threads(1)
    random = np.random.default_rng([config.seed, number])
    models = _warm_up(config, random, replications)
    return _Test(config, share, number, models).run(random)


def _warm_up(config: LoopConfig, random: np.random.Generator, replications: int) -> np.ndarray:
    """`(replications, WIDTH, heads)`: models of finishing and of staying, learned under control."""
    models = np.zeros((replications, WIDTH, 2), np.float32)
    alpha = np.float32(config.alpha_control)
    for step in range(config.random_steps + config.warm_steps):
        arrivals = visits(random, (replications, config.users), config.videos)
        if step < config.random_steps:
            choices = arrivals.videos[:, :, 0]
        else:
            predicted = arrivals.videos @ models[:, None]
            choices = _choose(arrivals, predicted, alpha, config.noise)
        labels, _ = _answers(arrivals, choices)
        models -= config.lr * gradient(choices, labels, models, np.float32(1))
    return models


def _choose(
    arrivals: Visits, predicted: np.ndarray, alpha: np.ndarray | np.float32, noise: float
) -> np.ndarray:
    """The videos shown, `(..., users, WIDTH)`; `predicted` is `(..., users, videos, heads)`."""
    score = alpha / (1 + np.exp(-predicted[..., 0])) + predicted[..., 1] + noise * arrivals.taste
    best = score.argmax(-1)
    return np.take_along_axis(arrivals.videos, best[..., None, None], -2)[..., 0, :]


def _answers(arrivals: Visits, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether users finish and how long they stay, `(..., users, 2)`, and what was to be
    expected."""
    expected = np.stack([finish_rate(videos), mean_stay(videos)], -1)
    realised = np.stack([arrivals.finish < expected[..., 0], arrivals.stay * expected[..., 1]], -1)
    return realised, expected


def gradient(
    inputs: np.ndarray, labels: np.ndarray, models: np.ndarray, weights: np.ndarray | np.float32
) -> np.ndarray:
    """`(..., width, heads)` of the weighted mean losses of two linear heads: logistic for the
    first, half the square for the second."""
    predicted = inputs @ models
    predicted[..., 0] = 1 / (1 + np.exp(-predicted[..., 0]))
    errors = (predicted - labels) * np.expand_dims(weights, -1)
    return np.swapaxes(inputs, -1, -2) @ errors.astype(np.float32) / np.float32(inputs.shape[-2])


class _Test:
    """The worlds of one chunk of replications, side by side.

    Instances are replications of their own after the warm-up: they share neither users nor rows.
    """

    def __init__(self, config: LoopConfig, share: float, number: int, models: np.ndarray) -> None:
        self.config, self.share = config, share
        self.shape = (len(models), config.instances)
        self.rows = len(models) * config.instances
        self.names = worlds(config)
        start = np.repeat(models, config.instances, 0)
        # One pair of models for each world: the treatment's and the control's.
        self.models = np.repeat(np.repeat(start[:, None, None], len(self.names), 1), 2, 2)
        self.designs: list[Estimator] = [
            design.build(self.rows, WIDTH, share, _seed(config.seed, number, place))
            for place, design in enumerate(config.designs.values())
        ]

    def run(self, random: np.random.Generator) -> Outcome:
        config = self.config
        size = (self.rows, config.users // config.instances)
        tally = _Tally(self.rows, len(self.names))
        design_facts: dict[str, list[dict[str, float]]] = {name: [] for name in config.designs}
        for _ in range(config.steps):
            arrivals = visits(random, size, config.videos)
            for place, treated in enumerate(self._deal(arrivals)):
                alpha = np.where(treated, config.alpha_treatment, config.alpha_control)[..., None]
                predicted = self._predict(arrivals, place, treated)
                choices = _choose(arrivals, predicted, alpha.astype(np.float32), config.noise)
                realised, expected = _answers(arrivals, choices)
                self._learn(place, choices, realised, treated)
                tally.add(place, treated, choices, realised, expected)
            for name, design in zip(config.designs, self.designs, strict=True):
                design_facts[name].append(design.facts())
        facts = {name: _mean(steps[len(steps) // 2 :]) for name, steps in design_facts.items()}
        return tally.outcome(self.shape, facts)

    def _deal(self, arrivals: Visits) -> list[np.ndarray]:
        """Who is treated, by world: all, none, then by chance."""
        chance = arrivals.arm < self.share
        whole = np.ones_like(chance)
        return [whole, ~whole, *(chance for _ in self.designs)]

    def _predict(self, arrivals: Visits, place: int, treated: np.ndarray) -> np.ndarray:
        """By the model of each user's arm."""
        pair = self.models[:, place]
        both = np.concatenate([pair[:, 0], pair[:, 1]], -1)
        rows, users, videos, width = arrivals.videos.shape
        flat = arrivals.videos.reshape(rows, users * videos, width) @ both
        by_arm = flat.reshape(rows, users, videos, 2, 2)
        return np.where(treated[..., None, None], by_arm[..., 0, :], by_arm[..., 1, :])

    def _learn(
        self, place: int, videos: np.ndarray, labels: np.ndarray, treated: np.ndarray
    ) -> None:
        if place < 2:
            treatment = treated.astype(np.float32)
            weights = (treatment, 1 - treatment)
        else:
            weights = self.designs[place - 2].weigh(videos, treated)
        for arm, weight in enumerate(weights):
            models = self.models[:, place, arm]
            models -= self.config.lr * gradient(videos, labels, models, weight)


class _Tally:
    """Sums by row, world, arm and metric."""

    def __init__(self, rows: int, worlds: int) -> None:
        self.sums = np.zeros((3, rows, worlds, 2, len(METRICS)))
        self.users = np.zeros((rows, worlds, 2))

    def add(
        self,
        place: int,
        treated: np.ndarray,
        videos: np.ndarray,
        realised: np.ndarray,
        expected: np.ndarray,
    ) -> None:
        short = videos[..., -2]
        did = np.stack([short, realised[..., 1], realised[..., 0]], -1)
        hoped = np.stack([short, expected[..., 1], expected[..., 0]], -1)
        for arm, members in enumerate((treated, ~treated)):
            mask = members[:, :, None]
            for total, values in zip(self.sums, (hoped, did, did**2), strict=True):
                total[:, place, arm] += (values * mask).sum(1)
            self.users[:, place, arm] += members.sum(1)

    def outcome(self, shape: tuple[int, int], facts: dict[str, dict[str, float]]) -> Outcome:
        """With rows as `(replications, instances)`; the mean of nobody is NaN."""
        with np.errstate(invalid="ignore"):
            means = self.sums / self.users[..., None]

        def by_instance(array: np.ndarray) -> np.ndarray:
            return np.moveaxis(array.reshape(*shape, *array.shape[1:]), 1, 2)

        expected, realised, squared = map(by_instance, means)
        return Outcome(expected, realised, squared, by_instance(self.users), facts)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _mean(steps: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([facts[name] for facts in steps])) for name in steps[0]}
