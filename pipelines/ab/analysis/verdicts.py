"""Each metric of each arm against control: effects by several ways, and one verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.analysis import looks, sentences
from fulcrum.pipelines.ab.analysis.facts import (
    Adjustment,
    ArmValue,
    Cuped,
    Instances,
    Judged,
    Metric,
    Plan,
    Standing,
    Verdict,
)
from fulcrum.pipelines.ab.log.comparisons import Family, Pair, family, pairs, treatments
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment
from fulcrum.pipelines.ab.log.plan import PlanChoice, SequentialPlan
from fulcrum.pipelines.ab.log.staged import INSTANCE
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics import bootstrap, effects, guardrail, power, sequential
from fulcrum.pipelines.ab.statistics.cuped import Adjusted
from fulcrum.pipelines.ab.statistics.effects import UNKNOWN, Effect, Relative
from fulcrum.pipelines.ab.statistics.instances import replicated
from fulcrum.pipelines.ab.statistics.multiplicity import (
    benjamini_hochberg,
    bonferroni,
    coverage_level,
)
from fulcrum.pipelines.ab.statistics.users import Users, check

TOLERANCE = 0.1
"""Part of an interval's width by which formula and bootstrap may differ. The ends of 2,000 draws
vary by 1.5 % of it, and a formula's error shows in small samples and heavy tails."""
ROLES = ("primary", "secondary", "guardrail", "exploratory")
"""In the order of the page."""


def judge(
    units: Units, experiment: Experiment, plan: Plan, doubts: Sequence[str] = ()
) -> list[Metric]:
    """Every declared metric, the primary one first.

    plan: whether anything may be claimed yet; doubts: why nothing of this log is to be relied on.
    A metric that says nothing, for example a constant one, carries the reason; raises DataError
    when that is the primary one and more units would not change it.
    """
    analysis = experiment.analysis
    assert analysis is not None
    order = sorted(analysis.metrics, key=lambda name: ROLES.index(analysis.metrics[name].role))
    metrics = [_metric(units, experiment, name) for name in order]
    metrics = _explored(units, experiment, metrics)

    def worded(members: Sequence[Judged]) -> tuple[Judged, ...]:
        return tuple(_worded(_stood(one, analysis, plan, doubts), plan) for one in members)

    return [replace(m, effects=worded(m.effects), pairs=worded(m.pairs)) for m in metrics]


def _metric(units: Units, experiment: Experiment, name: str) -> Metric:
    analysis = experiment.analysis
    assert analysis is not None
    config = analysis.metrics[name]
    arms = {arm: units.users(name, units.arm(arm)) for arm in experiment.arms}
    beside = family(experiment, config.role)
    chosen = pairs(experiment) if config.role == "primary" else _against_control(experiment)
    declared = name, config.kind, config.role, config.better
    values = tuple(_value(arm, users, analysis.alpha) for arm, users in arms.items())
    try:
        for arm, users in arms.items():
            check(users, f"arm `{arm}`")
        judged = [_compare(units, experiment, name, pair, arms, beside) for pair in chosen]
    except DataError as error:
        few = min(len(users) for users in arms.values()) < sequential.FEWEST
        if config.role == "primary" and not few:
            raise DataError(f"analysis.metrics.{name}: {error}") from error
        return Metric(*declared, values, (), (), str(error))
    held = tuple(one for one in judged if one.against == experiment.control)
    others = tuple(one for one in judged if one.against != experiment.control)
    return Metric(*declared, values, held, others, None)


def _against_control(experiment: Experiment) -> list[Pair]:
    return [(experiment.control, arm) for arm in treatments(experiment)]


def _value(arm: str, users: Users, alpha: float) -> ArmValue:
    if len(users) > 1 and users.denominator.sum():
        return ArmValue(arm, len(users), users.value, *effects.of_arm(users, alpha))
    value = users.value if users.denominator.sum() else 0.0
    return ArmValue(arm, len(users), value, value, value)


def _compare(
    units: Units,
    experiment: Experiment,
    name: str,
    pair: Pair,
    arms: dict[str, Users],
    beside: Family,
) -> Judged:
    """Numbers alone: what they stand for depends on the plan and on doubts."""
    analysis = experiment.analysis
    assert analysis is not None
    config = analysis.metrics[name]
    ways = _ways(units, analysis, arms[pair[0]], arms[pair[1]], beside.alpha)
    look = _looking(units, name, pair, ways.once, beside.alpha, analysis.plan)
    instances, problem = _instances_or_why_not(units, name, pair, ways.raw, beside.alpha)
    agree = _agree(ways.raw, ways.bootstrap)
    here, doubts = f"{name} in {pair[1]}", []
    if look.changed:
        doubts.append(sentences.changed(here, ways.once))
    if ways.bootstrap is not None and not agree:
        doubts.append(sentences.disagreement(here, ways.raw, ways.bootstrap))
    if problem is not None:
        doubts.append(sentences.no_instances(here, problem))
    return Judged(
        metric=name,
        role=config.role,
        better=config.better,
        against=pair[0],
        arm=pair[1],
        effect=_one_voice(look.effect),
        looking=isinstance(analysis.plan, SequentialPlan),
        alpha=beside.alpha,
        comparisons=beside.comparisons,
        raw=ways.raw,
        bootstrap=ways.bootstrap,
        agree=agree,
        cuped=ways.cuped,
        detectable=look.detectable,
        adjusted_p=bonferroni(look.effect.p_value, beside.comparisons),
        adjustment=_adjustment(beside, config.role),
        verdict="not judged yet",
        guardrail=None,
        margin=config.margin,
        instances=instances,
        instances_problem=problem,
        doubts=tuple(doubts),
        standing="undecided",
        sentences=(),
    )


@dataclass(frozen=True)
class _Ways:
    """One difference by several ways, each for one look."""

    raw: Effect
    """By formula, at the level of the analysis."""
    bootstrap: Effect | None
    """By drawing users again, at that level; None where that is not asked for."""
    cuped: Cuped | None
    """Adjusted by the time before, at that level; None where there is none."""
    once: Effect
    """The one that counts, at the comparison's own level."""


def _ways(
    units: Units, analysis: AnalysisConfig, control: Users, treatment: Users, alpha: float
) -> _Ways:
    raw = effects.compare(control, treatment, analysis.alpha)
    drawn = None
    if analysis.bootstrap:
        drawn = bootstrap.beside(raw, control, treatment, analysis.alpha, analysis.seed)
    adjusted = looks.adjusted(units, control, treatment)
    if adjusted is None:
        return _Ways(raw, drawn, None, effects.compare(control, treatment, alpha))
    once = effects.compare(adjusted.control, adjusted.treatment, alpha)
    return _Ways(raw, drawn, _cuped(adjusted, analysis.alpha), once)


def _adjustment(beside: Family, role: str) -> Adjustment:
    if beside.comparisons == 1:
        return "none"
    return "benjamini_hochberg" if role == "exploratory" else "bonferroni"


def _agree(formula: Effect, drawn: Effect | None) -> bool:
    if drawn is None:
        return True
    width = formula.high - formula.low
    ends = (formula.low - drawn.low, formula.high - drawn.high)
    return max(map(abs, ends)) <= TOLERANCE * width


def _cuped(adjusted: Adjusted, alpha: float) -> Cuped:
    effect = effects.compare(adjusted.control, adjusted.treatment, alpha)
    return Cuped(effect, adjusted.theta, adjusted.correlation, adjusted.covered)


@dataclass(frozen=True)
class _Look:
    """An effect under its plan."""

    effect: Effect
    detectable: float
    """What is found in 80 % of cases."""
    changed: bool
    """Whether earlier looks have nothing in common with the present one."""


def _looking(
    units: Units,
    name: str,
    pair: Pair,
    once: Effect,
    alpha: float,
    plan: PlanChoice,
) -> _Look:
    """The effect of one look, or under a sequential plan as all looks so far allow it. Where the
    present difference lies outside of what earlier looks allow, the nearest end stands for it."""
    if not isinstance(plan, SequentialPlan):
        return _Look(once, power.detectable(once.se, alpha), False)
    path = looks.path(units, name, pair)
    found = sequential.running(path, alpha, plan.tuned_for)
    low, high, p_value = float(found.low[-1]), float(found.high[-1]), float(found.p[-1])
    relative: Relative = UNKNOWN
    ends = float(found.relative_low[-1]), float(found.relative_high[-1])
    if once.relative is not None and np.isfinite(ends).all() and ends[0] <= ends[1]:
        relative = min(max(once.relative, ends[0]), ends[1]), *ends
    effect = replace(
        once,
        difference=min(max(once.difference, low), high),
        low=low,
        high=high,
        p_value=p_value,
        relative=relative[0],
        relative_low=relative[1],
        relative_high=relative[2],
    )
    users = once.n_control + once.n_treatment
    errors = sequential.detectable(users, alpha, plan.tuned_for, power.POWER)
    return _Look(effect, once.se * errors, found.changed)


def _one_voice(effect: Effect) -> Effect:
    """Without a relative effect whose interval says something else than the difference's: one of
    them leaves 0 and the other does not where a value is hardly clear of 0, or by rounding."""
    if effect.relative_low is None or effect.relative_high is None:
        return effect
    leave = effect.low > 0 or effect.high < 0
    if leave == (effect.relative_low > 0 or effect.relative_high < 0):
        return effect
    return replace(effect, relative=None, relative_low=None, relative_high=None)


def _instances_or_why_not(
    units: Units, name: str, pair: Pair, raw: Effect, alpha: float
) -> tuple[Instances | None, str | None]:
    try:
        return _instances(units, name, pair, raw, alpha), None
    except DataError as error:
        return None, str(error)


def _instances(units: Units, name: str, pair: Pair, raw: Effect, alpha: float) -> Instances | None:
    """The differences of pairs of instances; None below two pairs. Raises DataError for a pair of
    which nothing can be said."""
    sides = [units.arm(arm) for arm in pair]
    numbers = [set(side[INSTANCE].drop_nulls()) for side in sides]
    common = sorted(numbers[0] & numbers[1])
    if len(common) < 2:
        return None
    by_pair = {}
    for number in common:
        control, treatment = (
            units.users(name, side.filter(side[INSTANCE] == number)) for side in sides
        )
        try:
            by_pair[number] = effects.compare(control, treatment, alpha)
        except DataError as error:
            raise DataError(f"instance {number}: {error}") from error
    within = float(np.mean([effect.se**2 for effect in by_pair.values()]))
    differences = [effect.difference for effect in by_pair.values()]
    over = replicated(differences, alpha, within)
    between = max(0.0, over.spread**2 - within)
    return Instances(
        over,
        {number: effect.difference for number, effect in by_pair.items()},
        between,
        float(np.sqrt(raw.se**2 + between / len(common))),
    )


def _explored(units: Units, experiment: Experiment, metrics: list[Metric]) -> list[Metric]:
    """Exploratory metrics beside each other: p-values by Benjamini-Hochberg, and intervals at the
    level that says the same."""
    analysis = experiment.analysis
    assert analysis is not None
    members = [one for m in metrics if m.role == "exploratory" for one in m.effects]
    if not members:
        return metrics
    p_values = [one.effect.p_value for one in members]
    level = coverage_level(p_values, analysis.alpha)
    beside = Family(len(members), level)
    adjusted = {
        (one.metric, one.arm): value
        for one, value in zip(members, benjamini_hochberg(p_values), strict=True)
    }

    def again(metric: Metric) -> Iterator[Judged]:
        arms = {arm: units.users(metric.name, units.arm(arm)) for arm in experiment.arms}
        for one in metric.effects:
            judged = one
            if level != one.alpha:
                pair = one.against, one.arm
                judged = _compare(units, experiment, metric.name, pair, arms, beside)
            yield replace(judged, adjusted_p=adjusted[one.metric, one.arm])

    return [replace(m, effects=tuple(again(m))) if m.role == "exploratory" else m for m in metrics]


def _stood(judged: Judged, analysis: AnalysisConfig, plan: Plan, doubts: Sequence[str]) -> Judged:
    """With its verdict, and what the arm's decision takes it for.

    Neither is a claim where the log or the numbers are doubted. A difference within the chance of
    training is none either; a guard-rail is about the models that were served.
    """
    doubted = bool(doubts or judged.doubts)
    verdict = _verdict(judged, analysis.alpha, plan, doubted)
    standing: Standing = "undecided"
    if verdict in ("better", "worse"):
        standing = "good" if verdict == "better" else "bad"
    if judged.margin is None:
        return replace(judged, verdict=verdict, standing=standing)
    rail = guardrail.judge(judged.effect, judged.better, judged.margin)
    if not plan.reached:
        rail = "undecided"
    standing = "bad" if rail == "fails" else "undecided"
    if rail == "passes" and not doubted:
        standing = "good"
    return replace(judged, verdict=verdict, guardrail=rail, standing=standing)


def _verdict(judged: Judged, alpha: float, plan: Plan, doubted: bool) -> Verdict:
    if not plan.reached:
        return "not judged yet"
    if judged.adjusted_p >= alpha:
        return "no difference shown"
    if doubted or judged.lucky:
        return "in doubt"
    rises = judged.effect.difference > 0
    return "better" if rises == (judged.better == "up") else "worse"


def _worded(judged: Judged, plan: Plan) -> Judged:
    lines = [sentences.verdict(judged, plan)]
    if judged.guardrail is not None:
        lines.insert(0, sentences.guardrail(judged, plan))
    if judged.instances is not None:
        lines.append(sentences.instances(judged, judged.instances, plan))
    return replace(judged, sentences=(*lines, *judged.doubts))
