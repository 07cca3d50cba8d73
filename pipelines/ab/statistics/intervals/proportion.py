"""Two shares held against each other: what is left when an arm has few units of either kind."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from fulcrum.pipelines.ab.statistics.users import Users, constant

FEW = 10
"""Units of either kind in an arm below which a share is far from normal."""
FARTHEST = 37.0
"""Standard errors whose p-value, 1e-299, a float can still tell from 0."""
ALIKE = 1e-9
"""Relative difference of two constant values that is rounding."""


@dataclass(frozen=True)
class Shares:
    """How many units of each arm are at the higher one of two values."""

    counts: tuple[int, int]
    """Control first."""
    sizes: tuple[int, int]
    base: float
    """The lower value."""
    step: float
    """From the lower value to the higher one."""

    @property
    def few(self) -> bool:
        """Whether an arm has fewer than `FEW` units at either value."""
        return any(
            min(count, size - count) < FEW
            for count, size in zip(self.counts, self.sizes, strict=True)
        )

    def wilson(self, alpha: float) -> tuple[float, float]:
        """Of the value of treatment alone (Wilson, JASA 1927)."""
        ends = proportion_confint(self.counts[1], self.sizes[1], alpha, method="wilson")
        low, high = (self.base + self.step * float(end) for end in ends)
        return low, high

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of treatment less control, by Newcombe's hybrid of the arms' Wilson score intervals
        (Statistics in Medicine 1998, method 10), in the metric's own unit."""
        (control, treatment), (n_control, n_treatment) = self.counts, self.sizes
        low, high = confint_proportions_2indep(
            treatment, n_treatment, control, n_control, method="newcomb", alpha=alpha
        )
        return float(low * self.step), float(high * self.step)

    @property
    def p_value(self) -> float:
        """The alpha at which an end of the interval is 0, so that both always say the same."""
        shares = [count / size for count, size in zip(self.counts, self.sizes, strict=True)]
        if shares[0] == shares[1]:
            return 1.0
        near = 0 if shares[1] > shares[0] else 1

        def end(z: float) -> float:
            return self.interval(float(2 * stats.norm.sf(z)))[near]

        if np.sign(end(FARTHEST)) == np.sign(shares[1] - shares[0]):
            return float(2 * stats.norm.sf(FARTHEST))
        return float(2 * stats.norm.sf(optimize.brentq(end, 1e-9, FARTHEST)))


def shares(control: Users, treatment: Users) -> Shares | None:
    """The arms as shares; None for a metric that takes more than two values.

    Two arms that are each constant are the limit of it: all units of one at one value and all of
    the other at the other. Where all units of both are alike nobody knows what another one would
    look like: it is taken to be at 0, or at 1 where all are at 0, so that 0 of n against 0 of m is
    a share as well.
    """
    arms = control, treatment
    sizes = np.concatenate([arm.denominator for arm in arms])
    if all(constant(arm) for arm in arms):
        one, other = control.value, treatment.value
        alike = np.isclose(one, other, rtol=ALIKE, atol=0)
        values = [np.full(len(control), one), np.full(len(treatment), one if alike else other)]
    elif np.ptp(sizes) == 0:
        values = [arm.numerator / sizes[0] for arm in arms]
    else:
        return None
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    if low == high:
        low, high = (low, 0.0) if low < 0 else (0.0, low or 1.0)
    if not all(((v == low) | (v == high)).all() for v in values):
        return None
    return Shares(
        (int((values[0] == high).sum()), int((values[1] == high).sum())),
        (len(control), len(treatment)),
        float(low),
        float(high - low),
    )
