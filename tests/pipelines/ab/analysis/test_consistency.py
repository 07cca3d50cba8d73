"""A report contradicts itself nowhere: simulated reports of all kinds, each sentence held to the
numbers beside it."""

import re
from typing import Any

import numpy as np
import pytest

from fulcrum.pipelines.ab.analysis.decision import EXIT
from fulcrum.pipelines.ab.analysis.facts import Facts, Judged, from_json, to_json
from fulcrum.pipelines.ab.analysis.page import render
from fulcrum.pipelines.ab.analysis.sentences import number
from tests.pipelines.ab.made import analysed, dealt, test_of, units
from tests.pipelines.comparison.test_page import Parsed

QUICK, MANY = 30, 400
ENDS = re.compile(r"% interval(?: at all looks)? ([+-][\d.]+) to ([+-][\d.]+)\)")


pytestmark = pytest.mark.usefixtures("cheap")


def report(seed: int) -> Facts:
    """A test of random metrics, arms, plan and faults."""
    rng = np.random.default_rng(seed)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    metrics: dict[str, dict[str, Any]] = {
        "main": {"role": "primary", "better": str(rng.choice(["up", "down"]))}
    }
    for role, name in (("secondary", "s"), ("exploratory", "x"), ("guardrail", "g")):
        for n in range(int(rng.integers(0, 3))):
            margin = {"margin": float(rng.choice([0.1, 0.5]))} if role == "guardrail" else {}
            better = str(rng.choice(["up", "down"]))
            metrics[f"{name}{n}"] = {"role": role, "better": better, **margin}
    analysis: dict[str, Any] = {"pairs": str(rng.choice(["control", "all"]))}
    if chance(0.4):
        ends = "2024-03-11" if chance(0.7) else "2024-03-25"
        analysis["plan"] = {"kind": "fixed", "ends": ends}
    if chance(0.3):
        analysis["segments"] = {"country": "country"}
    test = test_of(metrics, arms=int(rng.integers(2, 5)), **analysis)
    arm = dealt(test, int(rng.integers(30, 160)) * len(test.arms), rng)
    if chance(0.1):
        arm = arm[(arm == "control") | (rng.random(len(arm)) < 0.5)]
    size = len(arm)
    taste = rng.normal(0, 1, size)
    effects = {
        (name, treated): rng.choice([0.0, 0.0, 0.3, -0.3, 1.0, -1.0])
        for name in metrics
        for treated in test.arms
        if treated != "control"
    }
    totals = {
        name: 3 + taste + rng.normal(0, 1, size) + [effects.get((name, a), 0.0) for a in arm]
        for name in metrics
    }
    instance = rng.integers(0, 4, size).astype(str) if chance(0.3) else None
    if instance is not None:
        luck = {(a, i): rng.normal(0, 0.6) for a in test.arms for i in "0123"}
        lucky = np.array([luck[a, i] for a, i in zip(arm, instance, strict=True)])
        totals = {name: values + lucky for name, values in totals.items()}
    facts = analysed(
        units(
            test,
            arm,
            totals,
            before={name: taste + rng.normal(0, 1, size) for name in metrics}
            if chance(0.3)
            else None,
            missing=((arm == "b") & (rng.random(size) < 0.3)).astype(int) if chance(0.1) else None,
            instance=instance,
            segments={"country": rng.choice(["de", "fr"], size)},
        ),
        test,
    )
    assert from_json(to_json(facts)) == facts
    return facts


def hold(facts: Facts) -> None:
    """Every sentence to its numbers, every number to the others, every decision to both."""
    assert facts.headline.splitlines() == [one.sentence for one in facts.decisions]
    assert [one.arm for one in facts.decisions] == [a for a in facts.arms if a != facts.control]
    assert facts.withheld == (facts.decision == "broken") == (not facts.metrics)
    for one in facts.decisions:
        assert one.sentence.startswith(f"{one.arm}: {one.decision}. ")
        assert one.decision == (should(facts, one.arm))
    decided = {one.decision for one in facts.decisions}
    assert facts.decision in decided
    assert (EXIT[facts.decision] == 0) == ("ship" in decided)
    for judged in facts.judged:
        numbers(facts, judged)
        words(facts, judged)
    for course in facts.over_time:
        judged = next(one for one in facts.metrics[0].effects if one.arm == course.arm)
        assert (course.low[-1], course.high[-1]) == (judged.effect.low, judged.effect.high)
        assert course.p[-1] == judged.effect.p_value and course.alpha == judged.alpha
        assert course.sentence.endswith("it leaves 0.") == judged.clear
    if facts.segments is not None:
        for part in facts.segments.effects:
            assert (part.effect.low > 0 or part.effect.high < 0) == (part.adjusted_p < facts.alpha)
    said = facts.sentences
    assert len(said) == len(set(said))


def should(facts: Facts, arm: str) -> str:
    """The decision once more, from numbers alone."""
    failed = [check for check in facts.checks if not check.holds]
    if any(check.stops for check in failed):
        return "broken"
    if not facts.plan.reached:
        return "keep running"
    judged = [
        one
        for metric in facts.metrics
        for one in metric.effects
        if one.arm == arm and one.role in ("primary", "guardrail")
    ]
    if not judged:
        return "keep running"
    main, *rails = judged
    worst = [worst_and_best(rail) for rail in rails]
    if any(best < -rail.margin for (_, best), rail in zip(worst, rails, strict=True)):
        return "do not ship"
    if failed or any(one.doubts for one in (main, *rails)):
        return "keep running"
    if not main.clear:
        return "do not ship" if facts.plan.kind == "fixed" else "keep running"
    if main.instances is not None:
        over = main.instances.replicated
        same = over.low > 0 if main.effect.low > 0 else over.high < 0
        if not same:
            return "keep running"
    if worst_and_best(main)[0] < 0:
        return "do not ship"
    if any(bad <= -rail.margin for (bad, _), rail in zip(worst, rails, strict=True)):
        return "keep running"
    return "ship"


def worst_and_best(judged: Judged) -> tuple[float, float]:
    effect = judged.effect
    return (effect.low, effect.high) if judged.better == "up" else (-effect.high, -effect.low)


def numbers(facts: Facts, judged: Judged) -> None:
    effect = judged.effect
    assert effect.low <= effect.difference <= effect.high
    assert judged.clear == (judged.adjusted_p < facts.alpha) == (effect.p_value < judged.alpha)
    assert judged.adjusted_p >= effect.p_value
    assert judged.looking == (facts.plan.kind == "sequential")
    if effect.relative is not None:
        assert effect.relative_low <= effect.relative <= effect.relative_high
        assert judged.clear == (effect.relative_low > 0 or effect.relative_high < 0)
    failed = any(not check.holds for check in facts.checks)
    claimed = judged.verdict in ("better", "worse")
    doubted = failed or bool(judged.doubts) or judged.lucky
    assert claimed == (facts.plan.reached and judged.clear and not doubted)
    if claimed:
        assert (judged.verdict == "better") == (worst_and_best(judged)[0] > 0)
    if judged.guardrail is None:
        assert judged.standing == {"better": "good", "worse": "bad"}.get(
            judged.verdict, "undecided"
        )


def words(facts: Facts, judged: Judged) -> None:
    """Sentences claim what the verdict claims, and show the ends of the interval."""
    effect, about = judged.effect, judged.sentences
    pair = f"in {judged.arm} than in {judged.against}"
    for claim in ("better", "worse"):
        says = any(f"{judged.metric} is {claim} {pair}" in sentence for sentence in about)
        assert says == (judged.verdict == claim)
    none = any(s.startswith(f"{judged.metric}: no difference shown between") for s in about)
    assert none == (judged.verdict == "no difference shown")
    if judged.clear:
        assert not none
    mine = [s for s in about if judged.instances is None or "instances of each arm" not in s]
    shown = {ends for sentence in mine for ends in ENDS.findall(sentence)}
    assert shown == {(number(effect.low, effect.se, True), number(effect.high, effect.se, True))}
    rail = " ".join(s for s in about if s.startswith("Guard-rail"))
    assert bool(rail) == (judged.margin is not None)
    if judged.margin is not None:
        bad, best = worst_and_best(judged)
        claims = facts.plan.reached
        assert (" passes in " in rail) == (judged.standing == "good")
        assert (" fails in " in rail) == (judged.standing == "bad")
        assert (judged.standing == "bad") == (claims and best < -judged.margin)
        assert judged.standing != "good" or bad > -judged.margin


def page(facts: Facts) -> None:
    """All of it is there, decisions before anything else, in the colours of what they are."""
    html = render(facts, {})
    parsed = Parsed(html)
    text = " ".join(parsed.words)
    for sentence in facts.sentences:
        assert " ".join(sentence.split()) in text
    first = " ".join(facts.headline.split())
    assert text.split(f"A/B test: {facts.experiment} {facts.experiment} ")[1].startswith(first)
    for decision in ("ship", "do not ship", "keep running", "broken"):
        marked = f'class="decision {decision.replace(" ", "-")}"'
        assert html.count(marked) == sum(one.decision == decision for one in facts.decisions)
    table = html.split("<h2>Effects</h2>")[1:]
    for standing in ("good", "bad", "undecided") if table else ():
        rows = table[0].split("</table>")[0].count(f'<tr class="{standing}">')
        assert rows == sum(one.standing == standing for one in facts.judged)


def test_reports_contradict_themselves_nowhere() -> None:
    decided = set()
    for seed in range(QUICK):
        facts = report(seed)
        hold(facts)
        if seed % 3 == 0:
            page(facts)
        decided |= {one.decision for one in facts.decisions}
    assert decided == set(EXIT)


@pytest.mark.slow
def test_hundreds_of_reports_contradict_themselves_nowhere() -> None:
    for seed in range(QUICK, MANY):
        facts = report(seed)
        hold(facts)
        if seed % 10 == 0:
            page(facts)
