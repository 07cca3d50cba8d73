"""Has an arm the units that a metric's interval needs?"""

from collections.abc import Iterator

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics import cuped, effects, guardrail
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.intervals import skewness
from fulcrum.pipelines.ab.statistics.users import Users


def tails(units: Units, experiment: Experiment) -> Iterator[Check]:
    """Told of each metric and arm whose interval is not the normal one. A doubt for the primary
    metric and for guard-rails that such an interval leaves open: with a tail that the small arm has
    not met, no difference shown is no answer, and it takes more units, or a metric that is cut off
    (`winsorise`, declared before one looks)."""
    assert experiment.analysis is not None
    for name, metric in experiment.analysis.metrics.items():
        control = units.users(name, units.arm(experiment.control))
        for arm in (arm for arm in experiment.arms if arm != experiment.control):
            treatment = units.users(name, units.arm(arm))
            try:
                effect = effects.compare(control, treatment, experiment.analysis.alpha)
            except DataError:
                continue
            if effect.method == "welch":
                continue
            least = skewness.needed(control, treatment)
            smaller = min(len(control), len(treatment))
            numbers = {"units": float(smaller), "needed": float(least)}
            title = f"tail of {name} ({arm})"
            if effect.method == "newcombe":
                yield Check(title, True, False, _rare(name, arm), numbers)
                continue
            judged = _adjusted(units, control, treatment, experiment.analysis.alpha) or effect
            if metric.margin is not None:
                open_ = guardrail.judge(judged, metric.better, metric.margin) == "undecided"
            else:
                open_ = metric.role == "primary" and judged.low <= 0 <= judged.high
            short = least > smaller
            words = _long(name, arm, smaller, least) if short else _constant(name, arm)
            if open_ and short:
                cut = getattr(metric, "winsorise", 1) is None
                words += " It cannot be judged yet: run on" + (
                    ", or cut totals off by `winsorise` before the next look." if cut else "."
                )
            yield Check(title, not (open_ and short), False, words, numbers)


def _adjusted(units: Units, control: Users, treatment: Users, alpha: float) -> Effect | None:
    if not units.has_past:
        return None
    try:
        less = cuped.adjust(control, treatment)
        return effects.compare(less.control, less.treatment, alpha)
    except DataError:
        return None


def _rare(name: str, arm: str) -> str:
    return (
        f"{name} takes two values, and too few units of {arm} or of control have one of them for "
        "a normal interval: it is Newcombe's, and units are not drawn again."
    )


def _constant(name: str, arm: str) -> str:
    return (
        f"{name} is the same for all units of {arm} or of control, which is not to say that it "
        "does not vary: both arms are given the variance of the other, and units are not drawn "
        "again."
    )


def _long(name: str, arm: str, units: int, least: int) -> str:
    return (
        f"{name} has so long a tail that the smaller one of {arm} and control needs at least "
        f"{least:,} units for a normal interval; it has {units:,}. Both arms are given the larger "
        "variance of the two, and units are not drawn again."
    )
