"""What each arm's policy would have earned, by the log of another."""

import polars as pl
from scipy import stats

from features.errors import DataError
from pipelines.ab import words
from pipelines.ab.experiment import Experiment
from pipelines.ab.facts import PolicyValue
from pipelines.ab.log import ACTION, ARM, CONTEXT, KEPT, PROPENSITY, TIME, UNIT, Log, numerator
from pipelines.ab.logged_policy import empirical_policy, predict_rewards
from pipelines.ab.off_policy import doubly_robust, ips, snips
from pipelines.ab.units import Units, instant
from pipelines.ab.users import Users


def values(log: Log, units: Units, experiment: Experiment, metric: str) -> list[PolicyValue]:
    """Each arm's policy by each other arm's rows; the reward is what a row adds to the metric.

    A policy is known from its own log: how often it took each action in each context there. Raises
    DataError for propensities that are 0, above 1 or missing.
    """
    analysis = experiment.analysis
    assert analysis is not None
    rows = _rows(log, units, experiment, metric)
    _check(rows, analysis.off_policy.propensity if analysis.off_policy else "")
    found = []
    for target in experiment.arms:
        own = rows.filter(pl.col(ARM) == target)
        observed = _observed(own, analysis.alpha)
        policy = empirical_policy(own[ACTION].to_numpy(), own[CONTEXT].to_numpy())
        for logged in experiment.arms:
            if logged == target:
                continue
            other = rows.filter(pl.col(ARM) == logged)
            actions, contexts = other[ACTION].to_numpy(), other[CONTEXT].to_numpy()
            who = None if experiment.unit is None else other[UNIT].to_numpy()
            rewards = other["reward"].to_numpy()
            given = rewards, other[PROPENSITY].to_numpy(), policy.of(actions, contexts)
            model = predict_rewards(rewards, actions, contexts, policy, who, seed=analysis.seed)
            estimates = (
                ips(*given, who, analysis.alpha),
                snips(*given, who, analysis.alpha),
                doubly_robust(*given, *model, who, analysis.alpha),
            )
            told = words.policy(target, logged, observed, estimates[1], len(other), analysis.alpha)
            found.append(PolicyValue(target, logged, len(other), *observed, *estimates, told))
    return found


def _rows(log: Log, units: Units, experiment: Experiment, metric: str) -> pl.DataFrame:
    """The rows that the effect rests on, in an order that the files do not decide."""
    assert experiment.analysis is not None
    rows = log.rows.filter(pl.col(KEPT) & pl.col(ARM).is_not_null())
    if experiment.analysis.pre_period is not None:
        rows = rows.filter(pl.col(TIME) >= instant(experiment.analysis.pre_period.until))
    columns = [UNIT, ARM, ACTION, CONTEXT, PROPENSITY]
    reward = pl.col(numerator(metric)).fill_null(0.0).alias("reward")
    kept = units.frame.lazy().select(UNIT)
    found = rows.join(kept, on=UNIT, how="semi").select(*columns, reward, TIME).collect()
    return found.sort(TIME, ARM, ACTION, CONTEXT, PROPENSITY, "reward", UNIT)


def _check(rows: pl.DataFrame, column: str) -> None:
    chance = rows[PROPENSITY]
    wrong = rows.filter(~((pl.col(PROPENSITY) > 0) & (pl.col(PROPENSITY) <= 1)).fill_null(False))
    if len(wrong):
        value = wrong[PROPENSITY][0]
        raise DataError(
            f"analysis.off_policy.propensity: `{column}` is not above 0 and at most 1 in "
            f"{len(wrong)} of {len(chance)} rows, for example {value} in arm `{wrong[ARM][0]}`; "
            "an action that was taken has a chance"
        )


def _observed(rows: pl.DataFrame, alpha: float) -> tuple[float, float, float]:
    """Mean reward of a row in the policy's own log, with its interval over units."""
    totals = rows.group_by(UNIT).agg(pl.col("reward").sum(), pl.len()).sort("reward", "len")
    users = Users(totals["reward"].to_numpy(), totals["len"].to_numpy().astype(float))
    half = float(stats.norm.ppf(1 - alpha / 2) * users.se)
    return users.value, users.value - half, users.value + half
