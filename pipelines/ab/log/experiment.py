"""An experiment as the analysis knows it: one YAML file, the one that the service reads."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fulcrum.features.config import Config, choice
from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.declared.data import DataConfig, SideTableConfig
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.declared.types import ColumnType
from fulcrum.features.errors import ConfigError
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.spec import Problem
from fulcrum.features.values import sql
from fulcrum.pipelines.ab.log import impressions
from fulcrum.pipelines.ab.log.plan import PlanChoice, SequentialPlan
from fulcrum.serving.experiments.experiment import TOLERANCE, ExperimentConfig


class LogConfig(Config):
    """How to read the rows of the test. The defaults are what `fulcrum serve` writes."""

    arm: str = "arm"
    """Column of the arm's name; null for rows of users outside the test."""
    instance: str | None = None
    """Column that numbers the model instance behind a row, where each arm has several."""
    version: str | None = None
    """Column of the version of the model behind a row: plots mark the days on which it changes."""
    time: TimeConfig | None = None
    """When the row happened; needed for everything over time."""
    csv: CsvConfig = Field(CsvConfig(), exclude_if=lambda csv: csv == CsvConfig())
    """How its text is written."""
    types: dict[str, ColumnType] = Field({}, exclude_if=lambda types: not types)
    """Types of columns that files do not say or say wrongly, for example `{user: String}`."""
    optional: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Columns that some files may lack; they are null there."""
    tables: dict[str, SideTableConfig] = {}
    """Side tables such as users and items."""
    where: str | None = None
    """SQL condition on the rows to keep."""
    derive: dict[str, str] = {}
    """New columns by SQL expression, in order."""


class MetricConfig(Config):
    """What all metrics have."""

    kind: str
    role: Literal["primary", "secondary", "guardrail", "exploratory"] = "secondary"
    """One metric is primary; guard-rails only have to be no worse than `margin`."""
    better: Literal["up", "down"] = "up"
    """Which direction is good."""
    margin: float | None = Field(None, gt=0)
    """How much worse a guard-rail may become, in the metric's own unit."""


class MeanMetric(MetricConfig):
    """Mean over users of the user's total."""

    kind: Literal["mean"] = "mean"
    value: str
    """SQL expression of a row; summed over the rows of a user."""
    winsorise: float | None = Field(None, gt=0.5, lt=1)
    """Quantile of the users' totals, both arms pooled, above which they are cut off; as many are at
    the other end."""


class RatioMetric(MetricConfig):
    """Sum over sum, for example clicks over impressions; its error by the delta method."""

    kind: Literal["ratio"] = "ratio"
    numerator: str
    """SQL expression of a row."""
    denominator: str = "1"
    """SQL expression of a row; the number of rows when left out."""


if TYPE_CHECKING:
    MetricChoice = MeanMetric | RatioMetric
else:
    MetricChoice = choice({"mean": MeanMetric, "ratio": RatioMetric})


class PrePeriodConfig(Config):
    """What users did before the test, as the covariate of CUPED."""

    until: str
    """Time in ISO 8601 at which the test began; earlier rows of the log are the pre-period."""


class RampStage(Config):
    """Shares that arms had before they were changed."""

    until: str
    """Time in ISO 8601 at which they were."""
    shares: dict[str, float]
    """By arm; they add up to 1."""


class OffPolicyConfig(Config):
    """The probabilities with which each arm's policy chose what it showed."""

    propensity: str
    """Column of the probability of the shown action, above 0 and at most 1."""
    action: str
    """Column of the action, for example the item."""
    context: tuple[str, ...] = ()
    """Columns on which the policies depend, for example the position."""


class InterferenceConfig(Config):
    """How far the arms' training data differ: a model of P(arm | row) on what was shown."""

    features: dict[str, FeatureConfig] = Field(min_length=1)
    """Features of the shown item and of the request, by name; neither the unit nor histories."""
    folds: int = Field(5, ge=2)
    """The model is fitted without the users whose rows it judges, so many times."""


class AnalysisConfig(Config):
    """What to ask of the log."""

    log: LogConfig = LogConfig()
    metrics: dict[str, MetricChoice] = Field(min_length=1)
    """What is compared, by name."""
    segments: dict[str, str] = {}
    """SQL expressions by name, constant within a user: effects are also given for each value."""
    pre_period: PrePeriodConfig | None = None
    ramp: tuple[RampStage, ...] = ()
    """Earlier shares, in order; `arms` has those after the last change. Units are held against
    those that came under the same shares."""
    plan: PlanChoice = SequentialPlan()
    """When the test is judged; whenever somebody looks when left out."""
    pairs: Literal["control", "all"] = "control"
    """What the primary metric compares: treatments with control, or all pairs of arms."""
    off_policy: OffPolicyConfig | None = None
    interference: InterferenceConfig | None = None
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Intervals cover with probability 1 - alpha."""
    bootstrap: bool = True
    """Whether intervals are checked by drawing units again."""
    seed: int = 0
    """Of the bootstrap."""


class Experiment(ExperimentConfig):
    """A test, from arms to verdict."""

    analysis: AnalysisConfig | None = None
    """What `fulcrum ab analyze` asks; not needed to serve."""


def problems(experiment: Experiment) -> list[Problem]:
    """Everything that is wrong without looking at data."""
    if experiment.analysis is None:
        return []
    declared = [*_analysis(experiment.analysis), *_ramp(experiment.analysis, experiment.arms)]
    features = interference(experiment.analysis, experiment.unit, experiment.outcomes)
    return declared + [problem for problem in features if problem not in declared]


def interference(
    analysis: AnalysisConfig, unit: str | None, outcomes: tuple[str, ...]
) -> Iterator[Problem]:
    """What is wrong with the features of the interference panel in a log with such a unit."""
    if analysis.interference is None:
        return
    log = analysis.log
    time = log.time or TimeConfig(column="time")
    data = DataConfig(events="", tables=log.tables, time=time, derive=log.derive)
    spec = impressions.spec(data, analysis.interference.features, log.arm, unit)
    for path, message in impressions.problems(spec, (*outcomes, *_values(analysis))):
        yield Problem(("analysis", "interference", *path), message)


def _values(analysis: AnalysisConfig) -> Iterator[str]:
    """What metrics add up, where that is a column as it is."""
    for metric in analysis.metrics.values():
        yield metric.value if isinstance(metric, MeanMetric) else metric.numerator


def _analysis(analysis: AnalysisConfig) -> Iterator[Problem]:
    primary = [name for name, m in analysis.metrics.items() if m.role == "primary"]
    if len(primary) != 1:
        got = ", ".join(f"`{name}`" for name in primary) or "none"
        yield Problem(("analysis", "metrics"), f"expected one primary metric, got {got}")
    for name, metric in analysis.metrics.items():
        if (metric.role == "guardrail") != (metric.margin is not None):
            message = (
                "a guard-rail needs a margin"
                if metric.margin is None
                else "only a guard-rail has a margin"
            )
            yield Problem(("analysis", "metrics", name, "margin"), message)
    if analysis.pre_period is not None and analysis.log.time is None:
        yield Problem(("analysis", "pre_period"), "needs `analysis.log.time`")
    for path, text in _expressions(analysis):
        try:
            sql.check(text)
        except ConfigError as error:
            yield Problem(path, str(error))


def _ramp(analysis: AnalysisConfig, arms: Collection[str]) -> Iterator[Problem]:
    for place, stage in enumerate(analysis.ramp):
        at = ("analysis", "ramp", str(place), "shares")
        total = sum(stage.shares.values())
        if set(stage.shares) != set(arms):
            yield Problem(at, f"expected a share of each of {', '.join(arms)}")
        elif min(stage.shares.values()) <= 0 or abs(total - 1) > TOLERANCE:
            yield Problem(at, f"expected shares above 0 that add up to 1, got {total:g} in all")


def _expressions(analysis: AnalysisConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, metric in analysis.metrics.items():
        at = ("analysis", "metrics", name)
        if isinstance(metric, MeanMetric):
            yield (*at, "value"), metric.value
        else:
            yield (*at, "numerator"), metric.numerator
            yield (*at, "denominator"), metric.denominator
    for name, text in analysis.segments.items():
        yield ("analysis", "segments", name), text
    for name, text in analysis.log.derive.items():
        yield ("analysis", "log", "derive", name), text
    if analysis.log.where is not None:
        yield ("analysis", "log", "where"), analysis.log.where
