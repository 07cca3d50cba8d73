"""The effect among some units only, for each value of the declared segments."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from fulcrum.features.errors import DataError, listed
from fulcrum.pipelines.ab.analysis.facts import Heterogeneity, SegmentEffect, Segments
from fulcrum.pipelines.ab.analysis.sentences import interval, p
from fulcrum.pipelines.ab.log.columns import CLUSTER
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.staged import ARM, segment
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics import effects
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.multiplicity import benjamini_hochberg, coverage_level

FEWEST = 30
"""Units (or clusters) of each arm below which a segment says nothing."""
MOST = 50
"""Values of a segment that are looked at, those with most units."""


def by_segment(units: Units, experiment: Experiment, metric: str) -> Segments:
    """Effects on one metric in each value of each segment, as exploration: p-values after
    Benjamini-Hochberg over all of them, and intervals that say the same. Small segments are left
    out and named."""
    assert experiment.analysis is not None
    alpha = experiment.analysis.alpha
    raw: list[tuple[str, str, str, Effect]] = []
    left_out: list[str] = []
    for name in experiment.analysis.segments:
        column = segment(name)
        sizes = units.frame.group_by(column).len().sort("len", column, descending=[True, False])
        if len(sizes) > MOST:
            left_out.append(f"{len(sizes) - MOST} smaller values of {name}")
        for value in sorted(sizes[column][:MOST]):
            for arm in experiment.arms:
                if arm != experiment.control:
                    pair = (experiment.control, arm)
                    effect = _effect(units, metric, (column, value), pair, alpha)
                    if isinstance(effect, Effect):
                        raw.append((name, value, arm, effect))
                    else:
                        left_out.append(f"{name} {value} ({effect})")
    p_values = [effect.p_value for *_, effect in raw]
    adjusted, level = benjamini_hochberg(p_values), coverage_level(p_values, alpha)
    judged = []
    for (name, value, arm, _), adjusted_p in zip(raw, adjusted, strict=True):
        where = segment(name), value
        effect = _effect(units, metric, where, (experiment.control, arm), level)
        assert isinstance(effect, Effect)
        judged.append(SegmentEffect(name, value, arm, effect, adjusted_p))
    arms = [arm for arm in experiment.arms if arm != experiment.control]
    differ = [
        Heterogeneity(name, arm, q)
        for name in experiment.analysis.segments
        for arm in arms
        if (q := _cochran([e.effect for e in judged if (e.segment, e.arm) == (name, arm)]))
        is not None
    ]
    return Segments(
        tuple(judged),
        level,
        tuple(differ),
        tuple(left_out),
        tuple(_words(judged, level, differ, metric, experiment)),
    )


def _effect(
    units: Units, metric: str, where: tuple[str, str], arms: tuple[str, str], alpha: float
) -> Effect | str:
    """The effect, or why there is none."""
    members = units.frame.filter(units.frame[where[0]] == where[1])
    sides = [units.entries(metric, members.filter(members[ARM] == arm)) for arm in arms]
    if min(map(len, sides)) < FEWEST:
        what = "clusters" if CLUSTER in members.columns else "units"
        sizes = listed([f"{len(s):,} in {arm}" for s, arm in zip(sides, arms, strict=True)])
        return f"too few {what}: {sizes}; {FEWEST} of each are needed"
    try:
        control, treatment = (units.users(metric, side) for side in sides)
        return effects.compare(control, treatment, alpha)
    except DataError as error:
        return str(error)


def _cochran(estimates: Sequence[Effect]) -> float | None:
    """p-value of Cochran's Q against one effect for all (Cochran, 1954)."""
    if len(estimates) < 2:
        return None
    weights = np.array([1 / effect.se**2 for effect in estimates])
    differences = np.array([effect.difference for effect in estimates])
    q = float(weights @ (differences - np.average(differences, weights=weights)) ** 2)
    return float(stats.chi2.sf(q, len(estimates) - 1))


def _words(
    judged: Sequence[SegmentEffect],
    level: float,
    differ: Sequence[Heterogeneity],
    metric: str,
    experiment: Experiment,
) -> list[str]:
    assert experiment.analysis is not None
    alpha = experiment.analysis.alpha
    clear = [e for e in judged if e.adjusted_p < alpha]
    lines = [
        f"In {e.segment} {e.value}, {metric} differs between {e.arm} and {experiment.control}: "
        f"{interval(e.effect, level)}, {p(e.adjusted_p)} after Benjamini-Hochberg."
        for e in clear
    ]
    if judged and not clear:
        lines.append(f"No difference shown in {metric} in any of {len(judged)} segments.")
    for one in differ:
        does = "differs" if one.p_value < alpha else "is not shown to differ"
        lines.append(
            f"The effect of {one.arm} {does} between values of {one.segment} "
            f"({p(one.p_value)}, Cochran's Q)."
        )
    return lines
