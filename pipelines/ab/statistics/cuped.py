"""CUPED: what users did before the test explains part of what they do in it."""

from dataclasses import dataclass

import numpy as np

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.intervals import proportion
from fulcrum.pipelines.ab.statistics.users import Users, check, check_varies


@dataclass(frozen=True)
class Adjusted:
    """Both arms, less what the pre-period predicts. Their difference estimates the same effect."""

    control: Users
    """Denominators are ones: ratios have become their linear form."""
    treatment: Users
    theta: float
    """Slope of the metric on its pre-period."""
    correlation: float
    """Of the metric with its prediction: the variance falls by its square."""
    covered: float
    """Share of the users with a history."""


def adjust(control: Users, treatment: Users) -> Adjusted:
    """Y' = Y - theta (X - mean X) (Deng, Xu, Kohavi and Walker, WSDM 2013).

    Y is the metric of a user, for a ratio its linear form R + (Y - R N) / mean(N); X is the same
    of the pre-period, with R and means over both arms. Users without history have the mean of X
    and are told apart by a flag, a second covariate. theta is common to both arms and fitted to
    deviations from each arm's own mean, so that the effect itself does not blur it. A pre-period
    in which all are alike has theta 0. Raises DataError where no user has a history, and where a
    constant arm or one with too few units of either value (`proportion.FEW`) leaves nothing to
    explain: what is left of it would look as if it varied no more than the pre-period does.
    """
    arms = control, treatment
    for arm, who in zip(arms, ("control", "treatment"), strict=True):
        check(arm, f"arm `{who}`")
        check_varies(arm, f"arm `{who}`")
    rare = proportion.shares(*arms)
    if rare is not None and rare.few:
        raise DataError(f"an arm has fewer than {proportion.FEW} units of either value")
    covariates = _covariates(*arms)
    border = [len(control)]
    centred = [part - part.mean(axis=0) for part in np.split(covariates, border)]
    residuals = np.concatenate([arm.residuals for arm in arms])
    slopes, *_ = np.linalg.lstsq(np.concatenate(centred), residuals, rcond=None)
    shift = (covariates - covariates.mean(axis=0)) @ slopes
    left = residuals - np.concatenate(centred) @ slopes
    explained = 1 - float(left @ left) / float(residuals @ residuals)
    control_shift, treatment_shift = np.split(shift, border)
    return Adjusted(
        _less(control, control_shift),
        _less(treatment, treatment_shift),
        theta=float(slopes[0]),
        correlation=float(np.sqrt(max(0.0, explained))),
        covered=float(1 - covariates[:, 1].mean()) if covariates.shape[1] == 2 else 1.0,
    )


def _covariates(*arms: Users) -> np.ndarray:
    """`(users, 1 or 2)`: X, and the flag of those without history if there are any."""
    if any(arm.before is None for arm in arms):
        raise DataError("there is no pre-period: no user has a value from before the test")
    totals = np.concatenate([arm.before for arm in arms if arm.before is not None])
    sizes = np.concatenate(
        [
            np.ones(len(arm)) if arm.before_denominator is None else arm.before_denominator
            for arm in arms
        ]
    )
    known = np.isfinite(totals) & np.isfinite(sizes)
    if sizes[known].sum() == 0:
        raise DataError("the pre-period is empty: no user has a value from before the test")
    x = np.zeros(len(totals))
    x[known] = Users(totals[known], sizes[known]).residuals
    return x[:, None] if known.all() else np.stack([x, ~known], axis=1)


def _less(arm: Users, shift: np.ndarray) -> Users:
    return Users(arm.value + arm.residuals - shift, np.ones(len(arm)))
