"""Users live day by day, and every night the recommenders learn what the day has logged.

A recommender is two models that see the topic within the user's group and the length of a video:
one of liking (logistic), one of the time of play (linear, on its logarithm). It shows the best of a
few candidates by

    alpha * P(like) + log-play + Gumbel noise

and the arms of a test differ in alpha. Until the test begins, everybody is served by the control.
Si's data-training loop (arXiv 2310.17496), with users who come back.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from fulcrum.features.config import Config
from fulcrum.pipelines.ab.simulation.estimators import EstimatorChoice
from fulcrum.pipelines.ab.simulation.estimators.base import Estimator
from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from fulcrum.pipelines.ab.simulation.feed import behaviours, population
from fulcrum.pipelines.ab.simulation.feed.behaviours import EXPECTED, Luck
from fulcrum.pipelines.ab.simulation.feed.population import GROUPS, SLOTS, TOPICS, Users, Videos
from fulcrum.pipelines.ab.simulation.loop.play import gradient

WIDTH = GROUPS * TOPICS + 3
"""What a model sees: topic within group, log-length, its square, and a constant."""
CHUNK = 20_000
"""Impressions whose candidates are weighed at a time."""
BREAK = 2.0
"""Seconds between two videos."""
BEIJING = 8 * 3600
"""Seconds that KuaiRand's `date` and `hourmin` are ahead of UTC."""
ARMS = ("control", "treatment")

Progress = Callable[[int, int], None]
"""Told how many days of how many are over."""


class FeedConfig(Config):
    """A test in a feed."""

    users: int = Field(2000, ge=10)
    videos: int = Field(2000, ge=10)
    begins: date = date(2022, 4, 8)
    """First day."""
    random_days: int = Field(1, ge=0)
    """Days at the start on which videos are shown at random (`is_rand`)."""
    before: int = Field(6, ge=0)
    """Days after those, before the test: everybody has the control's recommender."""
    days: int = Field(14, ge=1)
    """Of the test."""
    share: float = Field(0.5, gt=0, lt=1)
    """Of treated users."""
    design: EstimatorChoice = PoolingConfig()
    """Which rows each arm's models learn from."""
    alpha_control: float = 8.0
    """Weight of liking in the control's ranking."""
    alpha_treatment: float = 0.0
    """The same in the treatment's."""
    noise: float = Field(0.3, ge=0)
    """Scale of the ranking's Gumbel noise."""
    candidates: int = Field(10, ge=2)
    """Videos that a ranking chooses from, each drawn anew."""
    session: float = Field(8, gt=1)
    """Mean number of videos in a session."""
    lr: float = Field(0.5, gt=0)
    """Of the models' stochastic gradient descent."""
    batch: int = Field(256, ge=1)
    """Rows in a step of it."""
    instances: int = Field(1, ge=1)
    """Instances of each arm's models, each with users of its own."""
    seed: int = 0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.users < 10 * self.instances:
            raise ValueError(f"{self.users} users are too few for {self.instances} instances")
        return self


@dataclass(frozen=True)
class Place:
    """Where everything happens: the same in every world of a config."""

    config: FeedConfig
    users: Users
    videos: Videos
    instance: np.ndarray
    """`(users,)`."""
    treated: np.ndarray
    """`(users,)` who is treated in the test."""


@dataclass(frozen=True)
class World:
    """What came of one world."""

    sums: np.ndarray
    """`(arms, EXPECTED)` sums over the impressions of the test of what was to be expected."""
    rows: np.ndarray
    """`(arms,)` impressions."""

    @property
    def means(self) -> np.ndarray:
        """`(arms, EXPECTED)`, NaN for an arm without users."""
        with np.errstate(invalid="ignore"):
            means: np.ndarray = self.sums / self.rows[:, None]
        return means


def place(config: FeedConfig) -> Place:
    """Users, videos and the deal into arms."""
    random = np.random.default_rng([config.seed, 0])
    users = population.users(random, config.users)
    videos = population.videos(random, config.videos, f"{config.begins}")
    return Place(
        config,
        users,
        videos,
        random.permutation(config.users) % config.instances,
        random.random(config.users) < config.share,
    )


def live(
    here: Place,
    treated: np.ndarray,
    design: EstimatorChoice | None,
    keep: Callable[[pl.DataFrame], None] = lambda day: None,
    progress: Progress = lambda done, of: None,
) -> World:
    """All days of a world. `keep` is given each day's log. Without a design models learn from all
    rows, as in a world without a test."""
    config = here.config
    recommenders = _Recommenders(config, design)
    sums, rows = np.zeros((2, len(EXPECTED))), np.zeros(2)
    total = config.random_days + config.before + config.days
    for day in range(total):
        test = day >= config.random_days + config.before
        arm = treated if test else np.zeros_like(treated)
        today = _day(here, day)
        chance = day < config.random_days
        what = _choices(here, recommenders, today, arm, chance)
        log, expected = behaviours.respond(here.users, here.videos, today.who, what, today.luck)
        keep(_log(here, today, what, log, arm if test else None, chance))
        if test:
            for number in (0, 1):
                members = arm[today.who] == bool(number)
                sums[number] += expected[members].sum(0)
                rows[number] += members.sum()
        recommenders.learn(here, today, what, log, arm, test, day)
        progress(day + 1, total)
    return World(sums, rows)


@dataclass(frozen=True)
class _Day:
    """Impressions of a day in order of user and time, before anything is chosen."""

    who: np.ndarray
    session: np.ndarray
    """`(rows,)` number of the session; sessions of a user lie far apart."""
    starts: np.ndarray
    """`(sessions,)` seconds since 1970."""
    candidates: np.ndarray
    """`(rows, candidates)` videos."""
    noise: np.ndarray
    """`(rows, candidates)`."""
    luck: Luck


def _day(here: Place, day: int) -> _Day:
    """The random numbers of a day: none depends on what is shown."""
    config = here.config
    random = np.random.default_rng([config.seed, 1, day])
    who, slot = np.nonzero(random.random((config.users, SLOTS)) < here.users.active)
    length = np.minimum(random.geometric(1 / config.session, len(who)), 60)
    midnight = datetime.combine(config.begins, datetime.min.time(), UTC) + timedelta(days=day)
    # In the first half of a part of the day, so that sessions cannot meet.
    within = (slot + 0.5 * random.random(len(who))) * 24 * 3600 / SLOTS
    rows = int(length.sum())
    return _Day(
        np.repeat(who, length),
        np.repeat(np.arange(len(who)), length),
        midnight.timestamp() - BEIJING + within,
        random.integers(config.videos, size=(rows, config.candidates)),
        random.gumbel(size=(rows, config.candidates)).astype(np.float32),
        behaviours.luck(random, rows),
    )


def _encoded(here: Place, who: np.ndarray, what: np.ndarray) -> np.ndarray:
    """`(..., WIDTH)` of users and videos of any shape."""
    length = (np.log(here.videos.duration[what] / 20) / 2).astype(np.float32)
    rows = np.zeros((*what.shape, WIDTH), np.float32)
    cell = here.users.group[who] * TOPICS + here.videos.topic[what]
    np.put_along_axis(rows, cell[..., None], 1.0, -1)
    rows[..., -3], rows[..., -2], rows[..., -1] = length, length**2, 1.0
    return rows


def _choices(
    here: Place, recommenders: "_Recommenders", today: _Day, arm: np.ndarray, chance: bool
) -> np.ndarray:
    """`(rows,)` the video that each impression shows."""
    if chance:
        return today.candidates[:, 0]
    config, parts = here.config, []
    alphas = np.array([config.alpha_control, config.alpha_treatment], np.float32)
    for at in range(0, len(today.who), CHUNK):
        part = slice(at, at + CHUNK)
        who, offered = today.who[part], today.candidates[part]
        arms = arm[who].astype(int)
        models = recommenders.models[here.instance[who], arms]
        predicted = _encoded(here, who[:, None], offered) @ models
        score = alphas[arms][:, None] / (1 + np.exp(-predicted[..., 0])) + predicted[..., 1]
        best = (score + config.noise * today.noise[part]).argmax(1)
        parts.append(np.take_along_axis(offered, best[:, None], 1)[:, 0])
    return np.concatenate(parts)


class _Recommenders:
    """The models of both arms, of every instance."""

    def __init__(self, config: FeedConfig, design: EstimatorChoice | None) -> None:
        self.config = config
        self.models = np.zeros((config.instances, 2, WIDTH, 2), np.float32)
        self.designs: list[Estimator] = []
        if design is not None:
            self.designs = [
                design.build(1, WIDTH, config.share, config.seed + number)
                for number in range(config.instances)
            ]

    def learn(
        self,
        here: Place,
        today: _Day,
        what: np.ndarray,
        log: dict[str, np.ndarray],
        arm: np.ndarray,
        test: bool,
        day: int,
    ) -> None:
        """One pass over the day's rows in random order."""
        order = np.random.default_rng([self.config.seed, 2, day]).permutation(len(what))
        labels = np.column_stack([log["is_like"], np.log1p(log["play_time_ms"] / 1000)])
        instance = here.instance[today.who[order]]
        for number in range(self.config.instances):
            bucket = order[instance == number]
            for at in range(0, len(bucket), self.config.batch):
                rows = bucket[at : at + self.config.batch]
                inputs = _encoded(here, today.who[rows], what[rows])
                treated = arm[today.who[rows]]
                for side, weight in enumerate(self._weights(number, inputs, treated, test)):
                    models = self.models[number, side]
                    models -= self.config.lr * gradient(inputs, labels[rows], models, weight)

    def _weights(
        self, number: int, inputs: np.ndarray, treated: np.ndarray, test: bool
    ) -> Iterator[np.ndarray]:
        """Of the control's models, then of the treatment's."""
        if test and self.designs:
            weights = self.designs[number].weigh(inputs[None], treated[None])
            yield weights.control[0]
            yield weights.treatment[0]
        else:
            ones = np.ones(len(inputs), np.float32)
            yield ones
            yield ones


def _log(
    here: Place,
    today: _Day,
    what: np.ndarray,
    log: dict[str, np.ndarray],
    arm: np.ndarray | None,
    chance: bool,
) -> pl.DataFrame:
    """KuaiRand's 19 columns, then `arm` and `instance`, null before the test; ordered by time."""
    spent = log["play_time_ms"] + log["profile_stay_time"] + log["comment_stay_time"]
    until = np.cumsum(spent + 1000 * BREAK)
    before = until - spent - 1000 * BREAK
    first = np.searchsorted(today.session, np.arange(len(today.starts)))
    time = 1000 * today.starts[today.session] + before - before[first][today.session]
    here_time = pl.from_epoch(pl.col("time_ms") + 1000 * BEIJING, "ms")
    arm_names = None if arm is None else np.array(ARMS)[arm[today.who].astype(int)].tolist()
    return (
        pl.DataFrame({"user_id": today.who, "video_id": what, "time_ms": time.astype(np.int64)})
        .with_columns(
            (here_time.dt.strftime("%Y%m%d").cast(pl.Int64)).alias("date"),
            (here_time.dt.hour().cast(pl.Int64) * 100).alias("hourmin"),
            *(pl.Series(name, values) for name, values in log.items()),
            pl.lit(int(chance)).cast(pl.Int64).alias("is_rand"),
            pl.lit(1).cast(pl.Int64).alias("tab"),
            pl.Series("arm", arm_names, pl.String)
            if arm_names is not None
            else pl.lit(None, pl.String).alias("arm"),
            pl.Series("instance", here.instance[today.who]).cast(pl.Int64),
        )
        .select(*COLUMNS, "arm", "instance")
        .sort("time_ms", "user_id")
    )


COLUMNS = (
    "user_id",
    "video_id",
    "date",
    "hourmin",
    "time_ms",
    "is_click",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "long_view",
    "play_time_ms",
    "duration_ms",
    "profile_stay_time",
    "comment_stay_time",
    "is_profile_enter",
    "is_rand",
    "tab",
)
"""Of KuaiRand's log, in its order."""


def everyone(here: Place, treated: bool) -> np.ndarray:
    """`(users,)` all in one arm."""
    return np.full(here.config.users, treated)
