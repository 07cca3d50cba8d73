"""How many units the normal interval needs: more, the longer one tail of the metric is.

The studentised difference of two means is skewed against its tail by (2 z² + 1) / 6 phi(z) kappa to
first order (Hall, The Bootstrap and Edgeworth Expansion, 1992, section 2.6), kappa being the
skewness of the difference itself. In arms of equal size the tails of both cancel. In a small arm
beside a large one they do not, and a heavy tail that the small arm has not met yet makes its mean
and its standard error too small together: it is 'worse' with great certainty.
"""

import numpy as np

from fulcrum.pipelines.ab.statistics.users import ROUNDING, Users

LIMIT = 0.1
"""Skewness of the difference up to which Welch's interval is taken. At 5 % one tail is then wrong
in 3.3 % instead of 2.5 %, the other in 1.7 %, and both together as often as they should be. A small
arm beside a large one so needs 100 times the square of the metric's skewness; 355 times, as Kohavi,
Deng, Longbotham and Xu have it (KDD 2014, rule 7), is a limit of .053."""


def of_metric(control: Users, treatment: Users) -> float:
    """Skewness of a user's linear form, both arms together about their own means; 0 where nothing
    varies. The tail is known from the arm that has met it."""
    residuals = np.concatenate([control.residuals, treatment.residuals])
    spread = float(np.mean(residuals**2))
    return float(np.mean(residuals**3)) / spread**1.5 if spread > 0 else 0.0


def of_difference(
    metric: float, n_control: np.ndarray | int, n_treatment: np.ndarray | int
) -> np.ndarray:
    """Skewness of the difference of two means of a metric with that skewness:
    kappa = gamma (1 / n_T² - 1 / n_C²) / (1 / n_T + 1 / n_C)^1.5."""
    control, treatment = 1 / np.asarray(n_control, float), 1 / np.asarray(n_treatment, float)
    return np.asarray(metric * (treatment**2 - control**2) / (treatment + control) ** 1.5)


def normal(control: Users, treatment: Users) -> bool:
    """Whether the arms have the units that the normal interval of their difference needs."""
    metric = of_metric(control, treatment)
    return bool(abs(of_difference(metric, len(control), len(treatment))) <= LIMIT)


def needed(control: Users, treatment: Users) -> int:
    """Units that the smaller arm needs, at the arms' shares as they are and at the skewness seen so
    far: a heavy tail shows more of itself as units come, so this is the least."""
    metric = of_metric(control, treatment)
    kappa = float(of_difference(metric, len(control), len(treatment)))
    return int(np.ceil(min(len(control), len(treatment)) * (kappa / LIMIT) ** 2))


def cautious(users: Users, treated: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """`(2, looks)` variances of the arms' values after each user, made as `effects.compare` makes
    them: both arms have the larger variance of a user until they have the units that the normal
    interval needs, and where one of them is constant so far.

    users: of both arms, in the order in which they came; treated: `(users,)` bool; variances: `(2,
    looks)` each arm's own, control first. Where neither arm varies so far, each is given one user
    more at either end of what was seen at all, as Agresti and Caffo have it (American Statistician
    2000). The skewness is that of all users: an early look has not met the tail.
    """
    counts = np.maximum(np.stack([np.cumsum(~treated), np.cumsum(treated)]), 1)
    arms = [
        Users(users.numerator[chosen], users.denominator[chosen]) for chosen in (~treated, treated)
    ]
    metric = of_metric(*arms) if all(arm.denominator.sum() for arm in arms) else 0.0
    step = float(np.abs(users.numerator).max() / np.abs(users.denominator.mean())) or 1.0
    spread = variances * counts
    constant = spread <= ROUNDING * step**2
    short = (np.abs(of_difference(metric, *counts)) > LIMIT) | constant.any(axis=0)
    spread = np.where(short, spread.max(axis=0), spread)
    bare = 1 / (counts + 2)
    return np.where(constant.all(axis=0), step**2 * bare * (1 - bare), spread) / counts
