"""The rules on numbers made up for them; nothing is trained."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fulcrum.pipelines.config.run import PromotionConfig
from fulcrum.pipelines.promotion.evidence import Duel, Evidence
from fulcrum.pipelines.promotion.gains import Gain, gains
from fulcrum.pipelines.promotion.rules import RULES, Finding, judge
from fulcrum.pipelines.quality.pulls import interval
from tests.pipelines.quality.scored_rows import predictions

LIMITS = PromotionConfig()


def around(value: float, spread: float) -> np.ndarray:
    """Samples of a value whose interval by itself reaches as far as `spread` to both sides."""
    pulls = np.tile([1.0, -1.0], 500)
    return np.append(value, pulls * spread / (interval(np.append(0.0, pulls)) or (0.0, 1.0))[1])


def gain(task: str, value: float, spread: float, rows: int = 1000, other: float = 0.5) -> Gain:
    return Gain(task, "auc", other + value, other, around(value, spread), rows)


GOOD = Evidence(
    split="test",
    rows=5000,
    parity=2e-7,
    latency=0.002,
    gains=(gain("click", 0.2, 0.02), gain("like", 0.1, 0.05)),
    calibration={"click": around(1.02, 0.1)},
    areas={"click": 0.7, "like": 0.6},
    unripe={"like": 0.1},
    unknown={"user": 0.4},
    duel=Duel("3", (gain("click", 0.001, 0.01, other=0.7), gain("like", -0.01, 0.02)), 5000),
)


def broken(evidence: Evidence, limits: PromotionConfig = LIMITS) -> dict[str, Finding]:
    return {f.rule: f for f in judge(evidence, limits) if not f.holds}


def test_what_is_good_passes_and_every_rule_says_why():
    findings = judge(GOOD, LIMITS)
    assert [f.rule for f in findings] == list(RULES)
    assert all(f.holds and f.seen and f.expected for f in findings)


@pytest.mark.parametrize(
    ("change", "rule", "seen"),
    [
        ({"split": "train"}, "held-out rows", "train split"),
        ({"parity": 2e-5}, "parity", "2.0e-05"),
        ({"parity": np.nan}, "parity", "nan"),
        ({"latency": 0.2}, "latency", "200.0 ms"),
        ({"unripe": {"like": 0.6, "click": 0.1}}, "ripe labels", "like 60.0%"),
        ({"unknown": {"user": 0.99, "item": 0.2}}, "known ids", "user 99.0%"),
        (
            {"areas": {"click": 0.999}, "alone": {"click": ("hint", 1.0)}},
            "not too good to be true",
            "click has an AUC of 0.9990, and feature `hint` alone one of 1.0000",
        ),
        (
            {"gains": (gain("click", -0.27, 0.05), gain("like", 0.1, 0.05))},
            "better than a constant",
            "AUC of click 0.2300 against 0.5000",
        ),
        (
            {"gains": (gain("click", 0.2, 0.02), gain("like", 0.0, 0.01))},
            "better than a constant",
            "AUC of like 0.5000 against 0.5000",
        ),
        ({"gains": (gain("like", 0.1, 0.3, 9),)}, "better than a constant", "no task is shown"),
        ({"gains": ()}, "better than a constant", "no task is shown"),
        (
            {"calibration": {"click": around(1.5, 0.2)}},
            "calibration",
            "click 1.500",
        ),
        (
            {"duel": Duel("3", (gain("click", -0.05, 0.02), gain("like", 0.1, 0.01)), 5000)},
            "no worse than the champion",
            "AUC of click 0.4500 against 0.5000 (gain -0.07",
        ),
        ({"duel": Duel("3", lost=("buy",))}, "no worse than the champion", "buy missing"),
        ({"duel": Duel("3", problem="no `age`")}, "no worse than the champion", "no `age`"),
    ],
)
def test_one_thing_wrong_breaks_one_rule(change: dict[str, Any], rule: str, seen: str):
    found = broken(replace(GOOD, **change))
    assert list(found) == [rule]
    assert seen in found[rule].seen


@pytest.mark.parametrize(
    "change",
    [
        {"duel": None},
        # eight positives: nobody knows, and nothing is claimed
        {"gains": (*GOOD.gains, gain("hate", -0.02, 0.2, 8))},
        # a loss within the tolerance of 1 % of .5, and one that may be noise
        {"duel": Duel("3", (gain("click", -0.006, 0.0012), gain("like", -0.05, 0.06)), 5000)},
        {"calibration": {"click": around(1.5, 0.4)}},
        {"calibration": {}, "areas": {}, "unripe": {}, "unknown": {}},
    ],
)
def test_what_nobody_knows_breaks_none(change: dict[str, Any]):
    assert broken(replace(GOOD, **change)) == {}


def test_few_rows_are_no_excuse_for_a_task_that_is_worse():
    worse = replace(GOOD, gains=(*GOOD.gains, gain("hate", -0.3, 0.1, 8)))
    assert list(broken(worse)) == ["better than a constant"]


def test_limits_are_the_configs():
    lenient = PromotionConfig(tolerance=0.2, calibration=3, auc=1, latency=1, unripe=1, unknown=1)
    wrong = replace(
        GOOD,
        duel=Duel("3", (gain("click", -0.05, 0.02),), 5000),
        calibration={"click": around(2.0, 0.1)},
        areas={"click": 1.0},
        latency=0.5,
        unripe={"like": 1.0},
        unknown={"user": 1.0},
    )
    assert len(broken(wrong)) == 6
    assert broken(wrong, lenient) == {}


def against(theirs: float, ours: float, seed: int) -> bool:
    """Whether a model of that skill may follow another, on 20 users."""
    duel = Duel(
        "1",
        gains(predictions(400, 20, ours, 2 * seed), predictions(400, 20, theirs, 2 * seed + 1)),
        400,
    )
    [champion] = [f for f in judge(replace(GOOD, duel=duel), LIMITS) if "champion" in f.rule]
    return champion.holds


def test_models_that_are_alike_are_seldom_refused():
    """At most one in twenty, for three tasks together; of 20 no more than 4 (binomial, p < .01)."""
    refused = sum(not against(0.5, 0.5, seed) for seed in range(20))
    assert refused <= 4


def test_a_real_loss_is_refused():
    assert not any(against(0.7, 0.2, seed) for seed in range(5))
