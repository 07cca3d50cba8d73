"""Off-policy evaluation: what a policy would earn, from the log of another.

Weights w = target / logging are chances of the logged action under both policies. They say nothing
of actions that the logging policy never takes, and little where few rows carry all weight: read
every value beside its effective number of rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from fulcrum.features.errors import DataError


@dataclass(frozen=True)
class Value:
    """Mean reward of the target policy."""

    value: float
    low: float
    high: float
    effective_size: float
    """(sum w)² / sum w²: as many rows of the target's own log would be as good."""
    largest_weight: float


def ips(
    rewards: np.ndarray,
    logging: np.ndarray,
    target: np.ndarray,
    units: np.ndarray | None = None,
    alpha: float = 0.05,
) -> Value:
    """Inverse propensity score, mean of w r (Horvitz and Thompson, 1952). Unbiased.

    All `(rows,)`: rewards, and the chance of the logged action under the logging and the target
    policy. The interval is normal, from the rows' influence on the value, summed within `units`
    where those are given. Raises DataError for propensities that are 0 or above 1, for a target
    that never does what was logged, and for rewards that are all equal.
    """
    weights = _weights(rewards, logging, target)
    return _value(weights * rewards, weights, units, alpha)


def snips(
    rewards: np.ndarray,
    logging: np.ndarray,
    target: np.ndarray,
    units: np.ndarray | None = None,
    alpha: float = 0.05,
) -> Value:
    """Self-normalised: sum of w r over sum of w (Swaminathan and Joachims, NeurIPS 2015). Biased a
    little, usually closer; stays within the range of rewards. Arguments and errors as for `ips`."""
    weights = _weights(rewards, logging, target)
    value = weights @ rewards / weights.sum()
    return _value(value + weights * (rewards - value) / weights.mean(), weights, units, alpha)


def doubly_robust(
    rewards: np.ndarray,
    logging: np.ndarray,
    target: np.ndarray,
    predicted: np.ndarray,
    expected: np.ndarray,
    units: np.ndarray | None = None,
    alpha: float = 0.05,
) -> Value:
    """Mean of expected + w (r - predicted) (Dudík, Langford and Li, ICML 2011). Right where either
    the propensities or the model are.

    predicted: `(rows,)` reward of the logged action by a model that did not see the row; expected:
    `(rows,)` the same model's mean over the target's actions. Else as for `ips`.
    """
    weights = _weights(rewards, logging, target)
    return _value(expected + weights * (rewards - predicted), weights, units, alpha)


def _weights(rewards: np.ndarray, logging: np.ndarray, target: np.ndarray) -> np.ndarray:
    wrong = ~((logging > 0) & (logging <= 1))
    if wrong.any():
        raise DataError(
            f"propensities of {wrong.sum()} of {len(logging)} rows are not above 0 and at most 1"
        )
    wrong = ~((target >= 0) & (target <= 1))
    if wrong.any():
        raise DataError(f"chances of {wrong.sum()} of {len(target)} rows are not between 0 and 1")
    wrong = ~np.isfinite(rewards)
    if wrong.any():
        raise DataError(f"rewards of {wrong.sum()} of {len(rewards)} rows are not finite")
    if len(rewards) == 0 or np.ptp(rewards) == 0:
        raise DataError("the rewards are constant; without variation there is no interval")
    if not target.any():
        raise DataError("the target policy never takes an action that was logged")
    return target / logging


def _value(parts: np.ndarray, weights: np.ndarray, units: np.ndarray | None, alpha: float) -> Value:
    """Mean of `(rows,)` parts, whose deviations from it are the rows' influence."""
    value = float(parts.mean())
    owners = np.arange(len(parts)) if units is None else np.unique(units, return_inverse=True)[1]
    sums = np.bincount(owners, weights=parts - value)
    if len(sums) < 2:
        raise DataError("all rows are of one unit; an interval needs two or more")
    se = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(parts)
    half = float(stats.norm.ppf(1 - alpha / 2) * se)
    return Value(
        value,
        value - half,
        value + half,
        float(weights.sum() ** 2 / (weights**2).sum()),
        float(weights.max()),
    )
