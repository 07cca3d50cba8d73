"""What to do with each arm: one table of rules, of which the first that applies decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fulcrum.features.errors import listed
from fulcrum.pipelines.ab.analysis import sentences
from fulcrum.pipelines.ab.analysis.facts import Check, Decided, Decision, Judged, Metric, Plan

EXIT: dict[Decided, int] = {"ship": 0, "broken": 1, "do not ship": 3, "keep running": 4}
"""Exit code of a command whose answer this is; 2 is for what the user has to put right."""


@dataclass(frozen=True)
class Evidence:
    """All that the decision on one arm may rest on."""

    stops: Sequence[Check]
    """Checks that failed and withhold effects."""
    doubted: Sequence[Check]
    """Checks that failed and leave them."""
    plan: Plan
    problems: dict[str, str]
    """By metric among the primary one and the guard-rails, why it has no number."""
    primary: Judged | None
    """None where it has no number, as for the guard-rails."""
    rails: Sequence[Judged]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what is seen is not to be relied on."""
        judged = [*([] if self.primary is None else [self.primary]), *self.rails]
        own = [doubt for one in judged for doubt in one.doubts]
        return *(check.sentence for check in self.doubted), *own


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    when: str
    decision: Decided
    reason: Callable[[Evidence], str]
    """In words with numbers; empty where the rule does not apply."""


def decide(evidence: Evidence) -> tuple[Decided, str]:
    """By the first rule that applies, with its reason."""
    for rule in RULES:
        if reason := rule.reason(evidence):
            return rule.decision, reason
    raise AssertionError("the last rules apply to whatever the primary metric shows")


def decisions(
    arms: Sequence[str], checks: Sequence[Check], plan: Plan, metrics: Sequence[Metric]
) -> tuple[Decision, ...]:
    """Of each treatment. metrics: none where a check stopped the analysis."""
    failed = [check for check in checks if not check.holds]
    judging = [metric for metric in metrics if metric.role in ("primary", "guardrail")]
    made = []
    for arm in arms:
        judged = [one for metric in judging for one in metric.effects if one.arm == arm]
        evidence = Evidence(
            [check for check in failed if check.stops],
            [check for check in failed if not check.stops],
            plan,
            {metric.name: metric.problem for metric in judging if metric.problem is not None},
            next((one for one in judged if one.role == "primary"), None),
            [one for one in judged if one.role == "guardrail"],
        )
        decision, reason = decide(evidence)
        made.append(Decision(arm, decision, f"{arm}: {decision}. {reason}.", evidence.doubts))
    return tuple(made)


def overall(made: Sequence[Decision]) -> Decided:
    """Of the test as a whole: some arm to ship is an answer, and one that is not decided keeps the
    test running."""
    order: tuple[Decided, ...] = ("broken", "ship", "keep running", "do not ship")
    return next(one for one in order if any(arm.decision == one for arm in made))


def _broken(evidence: Evidence) -> str:
    if not evidence.stops:
        return ""
    names = listed([check.name for check in evidence.stops])
    return f"Failed: {names}; so this is no fair comparison of the arms, and effects are withheld"


def _early(evidence: Evidence) -> str:
    if evidence.plan.reached:
        return ""
    return f"The planned end, {evidence.plan.ends}, is not reached, and nothing is judged before"


def _fails(evidence: Evidence) -> str:
    failed = [rail for rail in evidence.rails if rail.standing == "bad"]
    if not failed:
        return ""
    rails = listed([f"{rail.metric} by {sentences.change(rail)}" for rail in failed])
    name = "A guard-rail fails" if len(failed) == 1 else f"{len(failed)} guard-rails fail"
    return f"{name}: {rails}{_also(evidence)}"


def _worse(evidence: Evidence) -> str:
    one = evidence.primary
    if one is None or one.verdict != "worse":
        return ""
    return f"{one.metric} is worse by {sentences.change(one)}"


def _unknown(evidence: Evidence) -> str:
    if evidence.primary is not None:
        return ""
    return f"The primary metric has no number yet: {next(iter(evidence.problems.values()), '')}"


def _doubtful(evidence: Evidence) -> str:
    if evidence.doubted:
        names = listed([check.name for check in evidence.doubted])
        return f"In doubt, because a check failed ({names}); {_seen(evidence)}"
    if evidence.doubts:
        return f"In doubt, because {evidence.doubts[0].rstrip('.')}; {_seen(evidence)}"
    return ""


def _lucky(evidence: Evidence) -> str:
    one = evidence.primary
    if one is None or not one.lucky or one.instances is None:
        return ""
    over = one.instances.replicated.instances
    return (
        f"{one.metric} differs by {sentences.change(one)}, but over {over} instances of the models "
        "that is within the chance of training"
    )


def _nothing_at_the_end(evidence: Evidence) -> str:
    one = evidence.primary
    if one is None or one.looking or one.verdict != "no difference shown":
        return ""
    return f"No difference shown in {one.metric} at the planned end: {sentences.change(one)}"


def _nothing_yet(evidence: Evidence) -> str:
    one = evidence.primary
    if one is None or one.verdict != "no difference shown":
        return ""
    return f"No difference shown in {one.metric} yet: {sentences.change(one)}"


def _undecided(evidence: Evidence) -> str:
    lines = []
    if names := [rail.metric for rail in evidence.rails if rail.standing == "undecided"]:
        lines.append(f"{_rails(names)} not shown to stay within the margin")
    if missing := list(evidence.problems):
        lines.append(f"{_rails(missing)} without a number")
    return f"{listed(lines)}; {_seen(evidence)}" if lines else ""


def _better(evidence: Evidence) -> str:
    one = evidence.primary
    if one is None or one.verdict != "better":
        return ""
    rails = [rail.metric for rail in evidence.rails]
    hold = f", and the guard-rail {rails[0]} holds" if len(rails) == 1 else ""
    if len(rails) > 1:
        hold = f", and all {len(rails)} guard-rails hold"
    return f"{one.metric} is better by {sentences.change(one)}{hold}"


def _rails(names: Sequence[str]) -> str:
    return f"Guard-rails {listed(names)} are" if len(names) > 1 else f"Guard-rail {names[0]} is"


def _seen(evidence: Evidence) -> str:
    """The primary metric beside what stands in its way; a number is no claim."""
    one = evidence.primary
    if one is None:
        return "the primary metric has no number yet"
    claim = " is better by" if one.verdict == "better" else ", so far,"
    return f"{one.metric}{claim} {sentences.change(one)}"


def _also(evidence: Evidence) -> str:
    """Failed checks beside what already keeps an arm from being shipped."""
    names = [check.name for check in evidence.doubted]
    return f"; a check failed, too ({listed(names)})" if names else ""


RULES = (
    Rule("a check that stops the analysis fails", "broken", _broken),
    Rule("the end of a fixed plan is not reached", "keep running", _early),
    Rule("a guard-rail fails", "do not ship", _fails),
    Rule("the primary metric has no number yet", "keep running", _unknown),
    Rule("another check fails, or formulas are not to be relied on", "keep running", _doubtful),
    Rule("the primary metric is worse", "do not ship", _worse),
    Rule("its difference is within the chance of training", "keep running", _lucky),
    Rule("no difference is shown at the end of a fixed plan", "do not ship", _nothing_at_the_end),
    Rule("no difference is shown yet", "keep running", _nothing_yet),
    Rule("a guard-rail is undecided or has no number", "keep running", _undecided),
    Rule("the primary metric is better", "ship", _better),
)
"""Every decision. What is only seen is no reason: each rule speaks of what intervals show."""
