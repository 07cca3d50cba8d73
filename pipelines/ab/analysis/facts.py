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

VERSION = 2

Verdict = Literal["better", "worse", "no difference shown", "in doubt", "not judged yet"]
Standing = Literal["good", "bad", "undecided"]
Decided = Literal["ship", "do not ship", "keep running", "broken"]
Adjustment = Literal["none", "bonferroni", "benjamini_hochberg"]


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
class Plan:
    """When the test is judged, as it was declared."""

    kind: Literal["sequential", "fixed"]
    ends: str | None
    """Of a fixed plan, ISO 8601 in UTC; later rows are left out."""
    reached: bool
    """Whether anything may be decided: a fixed plan decides nothing before its end."""


@dataclass(frozen=True)
class Decision:
    """What to do with an arm, and why."""

    arm: str
    decision: Decided
    sentence: str
    """Arm, decision and reason in one line."""
    doubts: tuple[str, ...]
    """Why what is seen of the arm is not to be relied on."""


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
    """One arm against another, in one metric."""

    metric: str
    role: str
    better: Literal["up", "down"]
    against: str
    """The arm that it is held against: control, or another treatment."""
    arm: str
    effect: Effect
    """What is judged: interval and p-value hold under the plan, and for the pre-period where there
    is one."""
    looking: bool
    """Whether they hold at all looks together, or at the planned end alone."""
    alpha: float
    """The interval covers with probability 1 - alpha, which is this comparison's share."""
    comparisons: int
    """How many the share is judged beside."""
    raw: Effect
    """By the delta method over units, as if this were the only comparison and the only look."""
    bootstrap: Effect | None
    """The same by drawing units again; None where that is not asked for, or cannot tell anything
    (`bootstrap.beside`)."""
    agree: bool
    """Whether both intervals are the same but for the chance of drawing."""
    cuped: Cuped | None
    """As `raw` is."""
    detectable: float
    """Difference that a test of this size finds in 80 % of cases, under the plan and at `alpha`."""
    adjusted_p: float
    """Among the other comparisons of the same role: below the experiment's alpha where the interval
    leaves 0."""
    adjustment: Adjustment
    verdict: Verdict
    guardrail: GuardrailVerdict | None
    """By the interval; undecided before a planned end."""
    margin: float | None
    instances: Instances | None
    instances_problem: str | None
    """Why there are none although the log has several."""
    doubts: tuple[str, ...]
    """Why the numbers are not to be relied on; a doubted difference is no claim."""
    standing: Standing
    """What the arm's decision takes it for; the colour of its interval."""
    sentences: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0."""
        return self.effect.low > 0 or self.effect.high < 0

    @property
    def lucky(self) -> bool:
        """Whether units show a difference that is within the chance of training."""
        if self.instances is None or not self.clear:
            return False
        over = self.instances.replicated
        return over.low <= 0 if self.effect.low > 0 else over.high >= 0


@dataclass(frozen=True)
class Metric:
    """A metric that was declared."""

    name: str
    kind: str
    role: str
    better: Literal["up", "down"]
    arms: tuple[ArmValue, ...]
    effects: tuple[Judged, ...]
    """One an arm other than control; none where `problem` says why not."""
    pairs: tuple[Judged, ...]
    """Treatments against each other, on request."""
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
    alpha: float
    """Intervals cover with probability 1 - alpha, so that those leave 0 that are shown."""
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
    """Ends of what all looks so far have in common: they hold the true difference at all looks at
    once, and the last ones are the interval that is judged."""
    p: tuple[float, ...]
    """The smallest so far of the mixture sequential probability ratio test."""
    alpha: float
    """The ends' share of alpha, below which p shows a difference."""
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
    plan: Plan
    decision: Decided
    """Of the test as a whole: broken if it is, ship if some arm is to be shipped, keep running if
    some arm is not decided, else do not ship."""
    decisions: tuple[Decision, ...]
    """One an arm other than control."""
    headline: str
    """The decisions, one line an arm."""
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
        """The decisions, then what they rest on."""
        failed = [check.sentence for check in self.checks if not check.holds]
        effects = [sentence for judged in self.judged for sentence in judged.sentences]
        values = [value.sentence for value in self.off_policy]
        panel = self.interference.sentences if self.interference is not None else ()
        said = dict.fromkeys([*failed, *effects, *values, *panel, *self.notes])
        return [*(one.sentence for one in self.decisions), *said]

    @property
    def judged(self) -> list[Judged]:
        """All effects, metric by metric, then treatments against each other."""
        effects = [effect for metric in self.metrics for effect in metric.effects]
        return effects + [pair for metric in self.metrics for pair in metric.pairs]


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
