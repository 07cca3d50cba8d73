"""What an analysis found: the numbers behind the page, and the layout of `analysis.json`.

Names here are the keys of the JSON file; its layout changes with `VERSION`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.guardrail import Verdict as GuardrailVerdict
from fulcrum.pipelines.ab.statistics.instances import Replicated
from fulcrum.pipelines.ab.statistics.off_policy import Value

VERSION = 1

Verdict = Literal["better", "worse", "no difference shown"]
Adjustment = Literal["none", "holm", "benjamini_hochberg"]


@dataclass(frozen=True)
class LogFacts:
    """What was read."""

    rows: int
    """Of the test, of units in exactly one arm."""
    units: dict[str, int]
    """By arm."""
    began: str | None
    ended: str | None
    """Time of the first and of the last row of the test, ISO 8601 in UTC."""
    before: int
    """Rows of the pre-period."""
    outside: int
    """Rows without an arm."""
    filtered: int
    """Rows that `where` left out."""


@dataclass(frozen=True)
class Check:
    """One reason to trust the effects, or not to."""

    name: str
    holds: bool
    stops: bool
    """Whether effects are withheld where it does not hold."""
    sentence: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class ArmValue:
    """A metric in one arm."""

    arm: str
    units: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cuped:
    """The effect, less what the pre-period explains."""

    effect: Effect
    theta: float
    correlation: float
    covered: float
    """Share of units with a history."""


@dataclass(frozen=True)
class Instances:
    """The effect over instances of each arm's model."""

    replicated: Replicated
    by_instance: dict[str, float]
    """Difference by instance."""
    between: float
    """Variance of one instance's difference beyond what its units explain."""
    total_se: float
    """Root of the units' variance plus `between` over the number of instances."""


@dataclass(frozen=True)
class Judged:
    """One arm against control, in one metric."""

    metric: str
    role: str
    better: Literal["up", "down"]
    arm: str
    raw: Effect
    """By the delta method over units."""
    bootstrap: Effect | None
    """The same by drawing units again; None where that is not asked for, or cannot tell anything
    (`bootstrap.beside`)."""
    agree: bool
    """Whether both intervals are the same but for the chance of drawing."""
    cuped: Cuped | None
    detectable: float
    """Difference that a test of this size finds in 80 % of cases."""
    adjusted_p: float
    """Among the other questions of the same role."""
    adjustment: Adjustment
    verdict: Verdict
    guardrail: GuardrailVerdict | None
    margin: float | None
    instances: Instances | None
    instances_problem: str | None
    """Why there are none although the log has several."""
    sentences: tuple[str, ...]

    @property
    def effect(self) -> Effect:
        """The one that is judged: adjusted where there is a pre-period."""
        return self.raw if self.cuped is None else self.cuped.effect


@dataclass(frozen=True)
class Metric:
    """A metric that was declared."""

    name: str
    kind: str
    role: str
    arms: tuple[ArmValue, ...]
    effects: tuple[Judged, ...]
    """One an arm other than control; none where `problem` says why not."""
    problem: str | None


@dataclass(frozen=True)
class SegmentEffect:
    """The primary metric's effect among the units of one segment."""

    segment: str
    value: str
    arm: str
    effect: Effect
    adjusted_p: float
    """Benjamini-Hochberg over all segments and arms."""


@dataclass(frozen=True)
class Heterogeneity:
    """Whether effects differ between the values of a segment, by Cochran's Q."""

    segment: str
    arm: str
    p_value: float


@dataclass(frozen=True)
class Segments:
    """Effects by declared segment."""

    effects: tuple[SegmentEffect, ...]
    heterogeneity: tuple[Heterogeneity, ...]
    left_out: tuple[str, ...]
    """What was too small, in words."""
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Course:
    """The primary metric's effect as units came, thinned."""

    arm: str
    users: tuple[float, ...]
    """How many had come, both arms together."""
    difference: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends that hold the true difference at all looks at once."""
    p: tuple[float, ...]
    """Of the mixture sequential probability ratio test."""
    sentence: str


@dataclass(frozen=True)
class Daily:
    """The primary metric's effect day by day, and its trend."""

    arm: str
    days: tuple[str, ...]
    effects: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    slope: float
    """Change per day."""
    slope_low: float
    slope_high: float
    p_value: float
    retrained: tuple[str, ...]
    """Days on which a model of this arm or of control was replaced by a newer version."""
    sentence: str


@dataclass(frozen=True)
class PolicyValue:
    """A policy's value from the log of another."""

    policy: str
    log: str
    """The arm whose rows are weighed."""
    rows: int
    observed: float
    """What the policy earned in its own log."""
    observed_low: float
    observed_high: float
    ips: Value
    snips: Value
    doubly_robust: Value
    sentence: str


@dataclass(frozen=True)
class Reliability:
    """Predicted and observed share of an arm, in bins of equal size."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Interference:
    """How far the arms' rows differ as training data: the model of P(arm | row)."""

    features: dict[str, float]
    """By feature, the share of `entropy` that a model of it alone takes away."""
    rows: int
    """That were judged."""
    log_loss: float
    """Of held-out rows, nats."""
    entropy: float
    """Of the arms' shares of rows, nats: the loss of a model that knows nothing else."""
    auc: float | None
    """Two arms only."""
    auc_low: float | None
    auc_high: float | None
    shares: dict[str, float]
    """Of rows, by arm."""
    mean_weight: dict[str, float]
    largest_weight: dict[str, float]
    effective: dict[str, float]
    """Effective share of all rows in each arm's weighted training."""
    outside: float
    """Share of rows where some arm's probability is below .05 or above .95."""
    overlap: float
    """Share of rows of which no arm's probability is .99 or more."""
    histogram: tuple[float, ...]
    """Share of rows by probability of the first arm that is not control, in 20 equal bins."""
    reliability: Reliability
    """Of that probability."""
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Everything that an analysis found."""

    version: int
    experiment: str
    unit: str | None
    control: str
    arms: tuple[str, ...]
    alpha: float
    headline: str
    withheld: bool
    """Whether a check stopped the analysis; then there are no effects below."""
    log: LogFacts
    checks: tuple[Check, ...]
    metrics: tuple[Metric, ...]
    segments: Segments | None
    over_time: tuple[Course, ...]
    days: tuple[Daily, ...]
    off_policy: tuple[PolicyValue, ...]
    interference: Interference | None
    notes: tuple[str, ...]
    """What to know when reading, and what could not be answered."""

    @property
    def sound(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def sentences(self) -> list[str]:
        """The verdicts, the headline first."""
        first = {s for m in self.metrics[:1] for e in m.effects for s in e.sentences[:1]}
        failed = [check.sentence for check in self.checks if not check.holds]
        rest = [s for e in self.judged for s in e.sentences if s not in first]
        values = [value.sentence for value in self.off_policy]
        panel = self.interference.sentences if self.interference is not None else ()
        return [self.headline, *failed, *rest, *values, *panel, *self.notes]

    @property
    def judged(self) -> list[Judged]:
        """All effects, metric by metric."""
        return [effect for metric in self.metrics for effect in metric.effects]


_ADAPTER = TypeAdapter(Facts)


def to_json(facts: Facts) -> str:
    """Text that `from_json` turns into equal facts."""
    return _ADAPTER.dump_json(facts, indent=2).decode()


def from_json(text: str) -> Facts:
    """Read facts again."""
    return _ADAPTER.validate_json(text)


def load(file: Path) -> Facts:
    """Read `analysis.json`."""
    return from_json(file.read_text(encoding="utf-8"))
