"""Each metric of each arm against control: effects by several ways, and one verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import sentences
from fulcrum.pipelines.ab.analysis.facts import (
    Adjustment,
    ArmValue,
    Cuped,
    Instances,
    Judged,
    Metric,
    Verdict,
)
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment
from fulcrum.pipelines.ab.log.staged import INSTANCE
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics import bootstrap, cuped, effects, guardrail, power
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.instances import replicated
from fulcrum.pipelines.ab.statistics.multiplicity import benjamini_hochberg, holm
from fulcrum.pipelines.ab.statistics.users import Users, check

TOLERANCE = 0.1
"""Part of an interval's width by which formula and bootstrap may differ. The ends of 2,000 draws
vary by 1.5 % of it, and a formula's error shows in small samples and heavy tails."""
ADJUSTED: dict[str, tuple[Adjustment, Callable[[list[float]], list[float]]]] = {
    "primary": ("holm", holm),
    "secondary": ("holm", holm),
    "guardrail": ("none", list),
    "exploratory": ("benjamini_hochberg", benjamini_hochberg),
}
"""How p-values of a role are adjusted. Guard-rails must all pass, which needs no adjustment."""


def judge(units: Units, experiment: Experiment) -> list[Metric]:
    """Every declared metric, the primary one first.

    A metric that says nothing, for example a constant one, carries the reason; raises DataError
    when that is the primary one.
    """
    analysis = experiment.analysis
    assert analysis is not None
    order = sorted(analysis.metrics, key=lambda name: list(ADJUSTED).index(_role(analysis, name)))
    metrics = [_metric(units, experiment, analysis, name) for name in order]
    judged = _adjusted([effect for metric in metrics for effect in metric.effects], analysis.alpha)
    worded = [_worded(effect, experiment.control, analysis.alpha) for effect in judged]
    return [
        replace(metric, effects=tuple(e for e in worded if e.metric == metric.name))
        for metric in metrics
    ]


def _role(analysis: AnalysisConfig, metric: str) -> str:
    return analysis.metrics[metric].role


def _metric(units: Units, experiment: Experiment, analysis: AnalysisConfig, name: str) -> Metric:
    config = analysis.metrics[name]
    arms = {arm: units.users(name, units.arm(arm)) for arm in experiment.arms}
    control = arms[experiment.control]
    comparisons, problem = [], None
    try:
        for arm, users in arms.items():
            check(users, f"arm `{arm}`")
            if arm != experiment.control:
                comparisons.append(_compare(units, experiment, analysis, name, arm, control, users))
    except DataError as error:
        problem = str(error)
        if config.role == "primary":
            raise DataError(f"analysis.metrics.{name}: {problem}") from error
    values = [_value(arm, users, analysis.alpha) for arm, users in arms.items()]
    metric_effects = () if problem else tuple(comparisons)
    return Metric(name, config.kind, config.role, tuple(values), metric_effects, problem)


def _value(arm: str, users: Users, alpha: float) -> ArmValue:
    half = 0.0
    if len(users) > 1 and users.denominator.sum():
        half = float(stats.norm.ppf(1 - alpha / 2)) * users.se
    value = users.value if users.denominator.sum() else 0.0
    return ArmValue(arm, len(users), value, value - half, value + half)


def _compare(
    units: Units,
    experiment: Experiment,
    analysis: AnalysisConfig,
    name: str,
    arm: str,
    control: Users,
    treatment: Users,
) -> Judged:
    config = analysis.metrics[name]
    raw = effects.compare(control, treatment, analysis.alpha)
    drawn = bootstrap.compare(control, treatment, analysis.alpha, analysis.seed)
    adjusted = _cuped(units, control, treatment, analysis.alpha)
    effect = raw if adjusted is None else adjusted.effect
    margin = config.margin
    instances, problem = None, None
    try:
        instances = _instances(units, experiment, analysis, name, arm, raw)
    except DataError as error:
        problem = str(error)
    return Judged(
        name,
        config.role,
        config.better,
        arm,
        raw,
        drawn,
        _agree(raw, drawn),
        adjusted,
        power.detectable(effect.se, analysis.alpha),
        effect.p_value,
        "none",
        "no difference shown",
        None if margin is None else guardrail.judge(effect, config.better, margin),
        margin,
        instances,
        problem,
        (),
    )


def _agree(formula: Effect, drawn: Effect) -> bool:
    width = formula.high - formula.low
    ends = (formula.low - drawn.low, formula.high - drawn.high)
    return max(map(abs, ends)) <= TOLERANCE * width


def _cuped(units: Units, control: Users, treatment: Users, alpha: float) -> Cuped | None:
    """None without a pre-period, or where no unit has a history."""
    if not units.has_past:
        return None
    try:
        adjusted = cuped.adjust(control, treatment)
    except DataError:
        return None
    effect = effects.compare(adjusted.control, adjusted.treatment, alpha)
    return Cuped(effect, adjusted.theta, adjusted.correlation, adjusted.covered)


def _instances(
    units: Units, experiment: Experiment, analysis: AnalysisConfig, name: str, arm: str, raw: Effect
) -> Instances | None:
    """The differences of pairs of instances; None below two pairs. Raises DataError for a pair of
    which nothing can be said."""
    sides = [units.arm(experiment.control), units.arm(arm)]
    numbers = [set(side[INSTANCE].drop_nulls()) for side in sides]
    pairs = sorted(numbers[0] & numbers[1])
    if len(pairs) < 2:
        return None
    by_pair = {}
    for pair in pairs:
        control, treatment = (
            units.users(name, side.filter(side[INSTANCE] == pair)) for side in sides
        )
        try:
            by_pair[pair] = effects.compare(control, treatment, analysis.alpha)
        except DataError as error:
            raise DataError(f"instance {pair}: {error}") from error
    over = replicated([effect.difference for effect in by_pair.values()], analysis.alpha)
    within = float(np.mean([effect.se**2 for effect in by_pair.values()]))
    between = max(0.0, over.spread**2 - within)
    return Instances(
        over,
        {pair: effect.difference for pair, effect in by_pair.items()},
        between,
        float(np.sqrt(raw.se**2 + between / len(pairs))),
    )


def _adjusted(judged: Sequence[Judged], alpha: float) -> list[Judged]:
    """p-values read beside those of the same role, and the verdict of each."""
    result = []
    roles: Mapping[str, list[Judged]] = {
        role: [j for j in judged if j.role == role] for role in ADJUSTED
    }
    for role, members in roles.items():
        name, adjust = ADJUSTED[role]
        values = adjust([member.effect.p_value for member in members])
        for member, value in zip(members, values, strict=True):
            result.append(
                replace(
                    member,
                    adjusted_p=value,
                    adjustment=name if len(members) > 1 else "none",
                    verdict=_verdict(member, value, alpha),
                )
            )
    return result


def _verdict(judged: Judged, adjusted_p: float, alpha: float) -> Verdict:
    if adjusted_p >= alpha:
        return "no difference shown"
    rises = judged.effect.difference > 0
    return "better" if rises == (judged.better == "up") else "worse"


def _worded(judged: Judged, control: str, alpha: float) -> Judged:
    lines = [sentences.verdict(judged, control, alpha)]
    if judged.guardrail is not None:
        lines.insert(0, sentences.guardrail(judged, alpha))
    if judged.instances is not None:
        lines.append(sentences.instances(judged, judged.instances, alpha))
    if judged.instances_problem is not None:
        lines.append(
            f"{judged.metric}: model instances are not compared, so nothing is known of the chance "
            f"of training: {judged.instances_problem}."
        )
    if not judged.agree:
        lines.append(sentences.disagreement(judged))
    return replace(judged, sentences=tuple(lines))
