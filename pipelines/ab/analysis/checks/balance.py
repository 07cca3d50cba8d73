"""Were the arms alike before the test? What they differ by then is there during it, too."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import p, percent
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import Units, ones
from fulcrum.pipelines.ab.metrics.columns import before, denominator, numerator
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.multiplicity import holm
from fulcrum.pipelines.ab.statistics.users import Users

LOUD = 0.001
"""p-value of an imbalance that chance does not explain, as for the sample ratio."""
SMALL = 0.1
"""Part of an effect, from 0 to the near end of its interval, that an imbalance may be: were all of
it carried over, the effect would still be there."""


def balance(units: Units, experiment: Experiment) -> Iterator[Check]:
    """Each metric of each arm against control in the time before the test, and what a ratio is
    divided by: a doubt where an imbalance is no chance (Holm over all of them) and not small beside
    the effect that is claimed. CUPED takes away what chance does; of what an earlier test has left,
    or a deal that is not at random, it takes theta and leaves the rest in the effect.
    """
    if not units.has_past:
        return
    assert experiment.analysis is not None
    alpha = experiment.analysis.alpha
    names, distances, p_values, small = [], [], [], []
    for arm in (name for name in experiment.arms if name != experiment.control):
        sides = units.arm(experiment.control), units.arm(arm)
        for metric in units.metrics:
            now = [units.users(metric, side) for side in sides]
            claimed = _claimed(now[0], now[1], alpha)
            entries = tuple(units.entries(metric, side) for side in sides)
            for pair in _before(entries, metric):
                names.append(f"{metric} ({arm})")
                distances.append(standardised(*pair))
                p_values.append(_p_value(*pair))
                small.append(abs(distances[-1]) <= SMALL * claimed)
    if not names:
        return
    adjusted = holm(p_values)
    wrong = [q < LOUD and not fine for q, fine in zip(adjusted, small, strict=True)]
    place = min(range(len(names)), key=lambda n: (not wrong[n], adjusted[n], -abs(distances[n])))
    verdict = "alike, but for chance"
    if any(wrong):
        verdict = (
            "not alike, and no chance: what an earlier test left, a deal that is not at random or "
            "a test that began earlier is in the effect, too, of which adjusting for the "
            "pre-period takes only a part"
        )
    elif adjusted[place] < LOUD:
        verdict = f"no chance, but less than {percent(SMALL, sign=False)} of the effect"
    largest: dict[str, float] = {}
    for name, distance in zip(names, distances, strict=True):
        if abs(distance) >= abs(largest.get(name, 0.0)):
            largest[name] = distance
    yield Check(
        "balance before the test",
        not any(wrong),
        False,
        f"Before the test the arms differ most clearly in {names[place]}, by "
        f"{abs(distances[place]):.3f} standard deviations ({p(adjusted[place])} after Holm over "
        f"{len(names)}; alarm below {LOUD:g}): {verdict}.",
        {
            "p_value": adjusted[place],
            **{f"standardised_difference.{name}": d for name, d in largest.items()},
        },
    )


def standardised(control: Users, treatment: Users) -> float:
    """Difference of values over the root of the mean variance of a user's linear form; 0 where
    nothing varies."""
    variances = [float(arm.residuals.var(ddof=1)) for arm in (control, treatment)]
    spread = math.sqrt(sum(variances) / 2)
    return (treatment.value - control.value) / spread if spread > 0 else 0.0


def _before(sides: Sequence[pl.DataFrame], metric: str) -> Iterator[tuple[Users, Users]]:
    """The metric before the test and, where that is no mean over units, its denominator per unit.
    Users without history did nothing then."""
    top, bottom = before(numerator(metric)), before(denominator(metric))
    once = [np.ones(len(side)) for side in sides]
    weights = [ones(side) for side in sides]
    tops = [side[top].fill_null(0).to_numpy() for side in sides]
    bottoms = [side[bottom].fill_null(0).to_numpy() for side in sides]
    if all(np.isin(sizes, (0, 1)).all() for sizes in bottoms):
        bottoms = once
    else:
        yield _pair(bottoms, once, weights)
    if all(sizes.sum() for sizes in bottoms):
        yield _pair(tops, bottoms, weights)


def _pair(
    tops: list[np.ndarray], bottoms: list[np.ndarray], weights: list[np.ndarray]
) -> tuple[Users, Users]:
    control, treatment = (
        Users(*parts).weighted(weight)
        for *parts, weight in zip(tops, bottoms, weights, strict=True)
    )
    return control, treatment


def _claimed(control: Users, treatment: Users, alpha: float) -> float:
    """Standard deviations from 0 to the near end of the effect's interval; 0 where it holds 0."""
    try:
        effect = effects.compare(control, treatment, alpha)
    except DataError:
        return 0.0
    if effect.low <= 0 <= effect.high or not effect.difference:
        return 0.0
    near = min(abs(effect.low), abs(effect.high)) / abs(effect.difference)
    return abs(standardised(control, treatment)) * near


def _p_value(control: Users, treatment: Users) -> float:
    try:
        return effects.compare(control, treatment).p_value
    except DataError:
        return 1.0
