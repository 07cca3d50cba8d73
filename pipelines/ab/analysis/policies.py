"""What each arm's policy would have earned, by the log of another."""

import polars as pl
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import sentences
from fulcrum.pipelines.ab.analysis.facts import PolicyValue
from fulcrum.pipelines.ab.log.columns import CLUSTER
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.staged import ACTION, ARM, CONTEXT, PROPENSITY, TIME, UNIT, numerator
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics.logged_policy import empirical_policy, predict_rewards
from fulcrum.pipelines.ab.statistics.off_policy import doubly_robust, ips, snips
from fulcrum.pipelines.ab.statistics.users import Users


def read(units: Units, experiment: Experiment, metric: str) -> pl.DataFrame:
    """The rows that the effect rests on, in an order that files do not decide; the reward is what a
    row adds to the metric, and a cluster stands for its units. Raises DataError for propensities
    that are 0, above 1 or missing."""
    assert experiment.analysis is not None and experiment.analysis.off_policy is not None
    columns = [UNIT, ARM, ACTION, CONTEXT, PROPENSITY, TIME]
    reward = pl.col(numerator(metric)).fill_null(0.0).alias("reward")
    impressions = units.test.select(*columns, reward).collect(engine="streaming")
    _check(impressions, experiment.analysis.off_policy.propensity)
    if CLUSTER in units.frame.columns:
        impressions = impressions.join(units.frame.select(UNIT, CLUSTER), on=UNIT)
        impressions = impressions.with_columns(pl.col(CLUSTER).alias(UNIT)).drop(CLUSTER)
    return impressions.sort(TIME, ARM, ACTION, CONTEXT, PROPENSITY, "reward", UNIT)


def values(rows: pl.DataFrame, experiment: Experiment) -> list[PolicyValue]:
    """Each arm's policy by each other arm's rows.

    A policy is known from its own log: how often it took each action in each context there. Raises
    DataError where policies have no action in common, or one never met the other's context.
    """
    analysis = experiment.analysis
    assert analysis is not None
    several = experiment.unit is not None or analysis.log.cluster is not None
    policy_values = []
    for target in experiment.arms:
        target_rows = rows.filter(pl.col(ARM) == target)
        observed = _observed(target_rows, analysis.alpha)
        policy = empirical_policy(target_rows[ACTION].to_numpy(), target_rows[CONTEXT].to_numpy())
        for logged in experiment.arms:
            if logged == target:
                continue
            other = rows.filter(pl.col(ARM) == logged)
            actions, contexts = other[ACTION].to_numpy(), other[CONTEXT].to_numpy()
            who = other[UNIT].to_numpy() if several else None
            rewards = other["reward"].to_numpy()
            weighting = rewards, other[PROPENSITY].to_numpy(), policy.of(actions, contexts)
            model = predict_rewards(rewards, actions, contexts, policy, who, seed=analysis.seed)
            estimates = (
                ips(*weighting, who, analysis.alpha),
                snips(*weighting, who, analysis.alpha),
                doubly_robust(*weighting, *model, who, analysis.alpha),
            )
            sentence = sentences.policy(
                target, logged, observed, estimates[1], len(other), analysis.alpha
            )
            policy_values.append(
                PolicyValue(target, logged, len(other), *observed, *estimates, sentence)
            )
    return policy_values


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
