"""How large a test must be, read off a log of the past."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.features.values import sql
from fulcrum.pipelines.ab.log.columns import KEPT, TIME, UNIT
from fulcrum.pipelines.ab.log.comparisons import Family, family
from fulcrum.pipelines.ab.log.experiment import Experiment, LogConfig
from fulcrum.pipelines.ab.log.plan import SequentialPlan
from fulcrum.pipelines.ab.log.staged import stage
from fulcrum.pipelines.ab.log.totals import FIRST, aged, final, settled, sums
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator
from fulcrum.pipelines.ab.statistics.power import (
    Days,
    days_needed,
    users_needed,
    users_needed_looking,
)
from fulcrum.pipelines.ab.statistics.users import Users, check, check_varies

DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds."""


@dataclass(frozen=True)
class Size:
    """What it takes to find an effect on a metric."""

    metric: str
    role: str
    comparisons: int
    """That it is judged beside."""
    alpha: float
    """Its share of alpha."""
    value: float | None = None
    """What the metric is in the log."""
    effect: float | None = None
    """The difference to find, in the metric's own unit."""
    users: int | None = None
    """All arms together."""
    days: Days | None = None
    """None where the log has no times, or too few newcomers."""
    problem: str = ""
    """Why there are no numbers."""


def sizes(
    logs: Sequence[str], experiment: Experiment, effect: float, relative: bool, power: float
) -> list[Size]:
    """Of each metric, the primary one first.

    The log is of the past: nobody needs an arm in it, and all of it counts. Users are as they were
    over the whole log, so a metric that adds up over time stands for a test that takes as long.
    With several treatments the smallest one decides. A test that may be looked at whenever one
    likes needs more than one that is judged once, and so does one that makes several comparisons.
    Raises ConfigError for an effect of 0 and DataError for what is wrong with the log.
    """
    if experiment.analysis is None:
        raise ConfigError("the experiment has no `analysis`, which says what to ask of the log")
    if effect == 0:
        raise ConfigError("--effect: an effect of 0 cannot be found; expected another number")
    metrics = experiment.analysis.metrics
    users = _users(logs, experiment)
    growth = _growth(users)
    answers = []
    for name in sorted(metrics, key=lambda name: metrics[name].role != "primary"):
        role = metrics[name].role
        beside = family(experiment, role)
        judged = name, role, beside.comparisons, beside.alpha
        try:
            counted = users.drop_nulls(numerator(name))
            totals = Users(*(counted[c(name)].to_numpy() for c in (numerator, denominator)))
            check(totals, "the log")
            check_varies(totals, "the log")
            size = effect * totals.value if relative else effect
            number = _number(totals, size, experiment, beside, power)
        except DataError as error:
            answers.append(Size(*judged, problem=str(error)))
            continue
        days = days_needed(number, growth, experiment.traffic) if growth else None
        answers.append(Size(*judged, totals.value, size, number, days))
    return answers


def _users(logs: Sequence[str], experiment: Experiment) -> pl.DataFrame:
    """One row a user, with sums of all metrics and the first time."""
    analysis = experiment.analysis
    assert analysis is not None
    log: LogConfig = analysis.log.model_copy(
        update={"arm": sql.value("'past'"), **dict.fromkeys(("instance", "version", "assignments"))}
    )
    drop = dict.fromkeys(("off_policy", "interference", "pre_period"))
    analysis = analysis.model_copy(update={"log": log, "segments": {}, **drop})
    with tempfile.TemporaryDirectory(prefix="fulcrum-ab-") as scratch:
        experiment = experiment.model_copy(update={"analysis": analysis})
        rows = stage(logs, experiment, Path(scratch)).rows.filter(KEPT)
        first, last = pl.col(TIME).min().alias(FIRST), pl.col(TIME).max().alias("last")
        rows = aged(rows, analysis.metrics)
        users = rows.group_by(UNIT).agg(first, last, *sums(analysis.metrics))
        totals = users.sort(UNIT).collect(engine="streaming")
        return settled(final(totals, analysis.metrics, totals["last"].max()), analysis.metrics)


def _growth(users: pl.DataFrame) -> list[int]:
    """Users seen until the end of each day; empty where the log has no times."""
    first = users[FIRST].drop_nulls().to_numpy() // DAY
    return [] if not len(first) else np.bincount(first - first.min()).cumsum().tolist()


def _number(
    users: Users, effect: float, experiment: Experiment, beside: Family, power: float
) -> int:
    """Users in the whole test for the smallest treatment to be found against control."""
    assert experiment.analysis is not None
    deviation = float(users.residuals.std(ddof=1))
    shares = {name: arm.share for name, arm in experiment.arms.items()}
    control = shares.pop(experiment.control)
    treatment = min(shares.values())
    both = control + treatment
    size = deviation, effect, treatment / both, beside.alpha, power
    plan = experiment.analysis.plan
    if isinstance(plan, SequentialPlan):
        needed = users_needed_looking(*size, plan.tuned_for)
    else:
        needed = users_needed(*size)
    return int(np.ceil(needed / both))
