"""How many comparisons a claim is judged beside, and so what share of alpha is its own.

Intervals, p-values, the power of a test and the size of the next one all take their level from
here, so that what is promised is what is judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment

Pair = tuple[str, str]
"""The arm that another one is held against, and that one."""


@dataclass(frozen=True)
class Family:
    """The comparisons of one role, of which none may be a false claim."""

    comparisons: int
    alpha: float
    """The share of each: all of them over their number (Bonferroni)."""


def treatments(experiment: Experiment) -> list[str]:
    """Every arm but control."""
    return [arm for arm in experiment.arms if arm != experiment.control]


def pairs(experiment: Experiment) -> list[Pair]:
    """What the primary metric compares: each treatment with control, and with each other on
    request."""
    assert experiment.analysis is not None
    each = [(experiment.control, arm) for arm in treatments(experiment)]
    others = combinations(treatments(experiment), 2)
    return each + (list(others) if experiment.analysis.pairs == "all" else [])


def family(experiment: Experiment, role: str) -> Family:
    """Of the metrics of a role.

    All guard-rails of an arm have to hold, which needs no adjustment, so only the arms count.
    Exploratory metrics may claim up to alpha each once all of them are seen
    (`multiplicity.coverage_level`); the share here is the least that one has.
    """
    analysis = experiment.analysis
    assert analysis is not None
    arms = len(treatments(experiment))
    if role == "primary":
        count = len(pairs(experiment))
    elif role == "guardrail":
        count = arms
    else:
        count = arms * len(list(_of(analysis, role)))
    return Family(count, analysis.alpha / count)


def _of(analysis: AnalysisConfig, role: str) -> Iterator[str]:
    return (name for name, metric in analysis.metrics.items() if metric.role == role)
