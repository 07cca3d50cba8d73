"""An experiment as the analysis knows it: one YAML file, the one that the service reads."""

from collections.abc import Collection, Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from fulcrum.features.config import Config
from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.declared.data import DataConfig, SideTableConfig
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.declared.types import ColumnType
from fulcrum.features.errors import ConfigError
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.spec import Problem
from fulcrum.features.values import sql
from fulcrum.features.values.duration import Duration
from fulcrum.pipelines.ab.log import impressions
from fulcrum.pipelines.ab.log.plan import PlanChoice, SequentialPlan
from fulcrum.pipelines.ab.metrics import MetricChoice
from fulcrum.serving.experiments.experiment import TOLERANCE, ExperimentConfig


class AssignmentsConfig(Config):
    """The table of who was dealt to which arm, for a log of those who came."""

    path: str
    """Parquet or text files: a path, a folder or a glob."""
    unit: str | None = None
    """Column of the unit; named as in the log when left out."""
    arm: str = "arm"
    """Column of the arm's name."""
    time: TimeConfig | None = None
    """When the unit was dealt: earlier rows are not of the test. Needed where the log has times."""


class LogConfig(Config):
    """How to read the rows of the test. The defaults are what `fulcrum serve` writes."""

    arm: str = "arm"
    """Column of the arm's name; null for rows of users outside the test."""
    assignments: AssignmentsConfig | None = Field(None, exclude_if=lambda table: table is None)
    """Who was dealt to which arm, in a table of its own: rows have the arm of their unit, and units
    without rows count, too."""
    cluster: str | None = Field(None, exclude_if=lambda column: column is None)
    """Column of what units belong to, for example the person behind several devices: units are
    dealt, and clusters are what varies."""
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


class PrePeriodConfig(Config):
    """What users did before the test, as the covariate of CUPED."""

    until: str | None = None
    """Time in ISO 8601 at which the test began; earlier rows of the log are the pre-period. Left
    out, the test begins for each unit when it comes, and rows without an arm are from before."""
    window: Duration | None = Field(None, exclude_if=lambda window: window is None)
    """How long before each unit came the rows count, for example `28d`; all of them when left
    out."""

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.until is None and self.window is None:
            raise ValueError("expected `until`, `window`, or both")
        return self

    @property
    def began(self) -> str:
        """When the test began, in words."""
        return self.until or "a unit came"


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
    if experiment.unit is None and experiment.analysis.log.assignments is not None:
        message = "`unit` is null; expected the column that says whose a row is"
        declared.append(Problem(("analysis", "log", "assignments"), message))
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
    """What metrics are made of, where that is a column as it is."""
    for metric in analysis.metrics.values():
        yield from list(metric.expressions.values())[:1]


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
    for name in primary if analysis.off_policy is not None else []:
        if not analysis.metrics[name].adds_up:
            kind = analysis.metrics[name].kind
            message = f"`{name}` is of kind `{kind}`, to which a row adds nothing of its own"
            yield Problem(("analysis", "off_policy"), message)
    if analysis.interference is not None and analysis.log.cluster is not None:
        message = (
            "not beside `analysis.log.cluster`: a row is judged by a model that has not seen its "
            "unit, and it would have seen others of the cluster"
        )
        yield Problem(("analysis", "interference"), message)
    table = analysis.log.assignments
    if table is not None and (table.time is None) != (analysis.log.time is None):
        message = "expected times in both the log and its assignments, or in neither"
        yield Problem(("analysis", "log", "assignments", "time"), message)
    for path, text in _expressions(analysis):
        try:
            sql.check(text)
        except ConfigError as error:
            yield Problem(path, str(error))


def _ramp(analysis: AnalysisConfig, arms: Collection[str]) -> Iterator[Problem]:
    if analysis.ramp and analysis.log.cluster is not None:
        message = "not beside `analysis.log.cluster`: a cluster has units of several stages"
        yield Problem(("analysis", "ramp"), message)
    for name, metric in analysis.metrics.items() if analysis.ramp else ():
        if metric.kind == "quantile":
            message = f"not beside `{name}` of kind `quantile`, which is of all stages together"
            yield Problem(("analysis", "ramp"), message)
    for place, stage in enumerate(analysis.ramp):
        at = ("analysis", "ramp", str(place), "shares")
        total = sum(stage.shares.values())
        if set(stage.shares) != set(arms):
            yield Problem(at, f"expected a share of each of {', '.join(arms)}")
        elif min(stage.shares.values()) <= 0 or abs(total - 1) > TOLERANCE:
            yield Problem(at, f"expected shares above 0 that add up to 1, got {total:g} in all")


def timeless(analysis: AnalysisConfig) -> Iterator[Problem]:
    """What is asked that needs times of a log without any."""
    if analysis.log.time is not None:
        return
    if analysis.pre_period is not None:
        yield Problem(("analysis", "pre_period"), "needs `analysis.log.time`")
    for name, metric in analysis.metrics.items():
        if metric.span is not None:
            yield Problem(("analysis", "metrics", name), "needs `analysis.log.time`")


def _expressions(analysis: AnalysisConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Places of the YAML that hold SQL of a row."""
    for name, metric in analysis.metrics.items():
        at = ("analysis", "metrics", name)
        for part, text in metric.expressions.items():
            yield (*at, part), text
        if metric.covariate is not None:
            yield (*at, "covariate"), metric.covariate
    for name, text in analysis.segments.items():
        yield ("analysis", "segments", name), text
    for name, text in analysis.log.derive.items():
        yield ("analysis", "log", "derive", name), text
    if analysis.log.where is not None:
        yield ("analysis", "log", "where"), analysis.log.where
