"""Does a treatment change what a ratio is divided by? The ratio is then of other rows."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import number, p
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import Units, ones
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.multiplicity import holm
from fulcrum.pipelines.ab.statistics.users import Users

LOUD = 0.001
"""p-value below which a denominator is another one, as for the sample ratio."""


def denominators(units: Units, experiment: Experiment) -> Iterator[Check]:
    """Told where a denominator per unit differs (Holm over ratios and arms), with what the
    numerator per unit does. A doubt where that goes the other way than a ratio that moves: more
    clicks a row may be fewer clicks."""
    assert experiment.analysis is not None
    ratios = [name for name in units.metrics if _varies(units, name)]
    arms = [arm for arm in experiment.arms if arm != experiment.control]
    asked = [(metric, arm) for metric in ratios for arm in arms]
    alpha = experiment.analysis.alpha
    below = [_per_unit(units, m, denominator, (experiment.control, arm), alpha) for m, arm in asked]
    adjusted = holm([1.0 if effect is None else effect.p_value for effect in below])
    for (metric, arm), rows, q in zip(asked, below, adjusted, strict=True):
        if rows is None or q >= LOUD:
            continue
        above = _per_unit(units, metric, numerator, (experiment.control, arm), alpha)
        ratio = _compared(
            [units.users(metric, units.arm(side)) for side in (experiment.control, arm)], alpha
        )
        if above is None or ratio is None:
            continue
        moves = ratio.p_value < alpha
        holds = not (moves and above.difference * ratio.difference <= 0)
        verdict = "of a ratio whose denominator moves, judge the numerator per unit as well"
        if not holds:
            verdict = (
                f"{metric} {'rises' if ratio.difference > 0 else 'falls'} by its denominator "
                "alone; declare the numerator as a `mean`, and decide by that"
            )
        yield Check(
            f"denominator of {metric}",
            holds,
            False,
            f"The denominator of {metric} is {_values(rows)} a unit in {arm} and "
            f"{experiment.control} ({p(q)} after Holm), its numerator {_values(above)} "
            f"({p(above.p_value)}): {verdict}.",
            {"p_value": q, "difference": rows.difference, "numerator": above.difference},
        )


def _values(effect: Effect) -> str:
    return f"{number(effect.treatment, effect.se)} and {number(effect.control, effect.se)}"


def _varies(units: Units, metric: str) -> bool:
    """Whether the metric is of rows: means over units have 1, and the numerator of a quantile is
    none by itself."""
    sizes = units.frame.drop_nulls(numerator(metric))[denominator(metric)]
    return units.metrics[metric].adds_up and sizes.n_unique() > 1


def _per_unit(
    units: Units, metric: str, part: Callable[[str], str], arms: tuple[str, str], alpha: float
) -> Effect | None:
    sides = [units.entries(metric, units.arm(arm)) for arm in arms]
    pair = [
        Users(side[part(metric)].to_numpy(), np.ones(len(side))).weighted(ones(side))
        for side in sides
    ]
    return _compared(pair, alpha)


def _compared(pair: Sequence[Users], alpha: float) -> Effect | None:
    try:
        return effects.compare(pair[0], pair[1], alpha)
    except DataError:
        return None
