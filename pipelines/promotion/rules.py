"""What a version must show before it becomes champion: one table of rules over `Evidence`.

A claim that a task is worse, or its calibration wrong, is made where an interval by users says so
for all tasks of the rule at once. That a task is better than a constant is to be shown for each by
itself: a model with a useless task passes in one case of forty at most, whatever its other tasks do
(an intersection-union test: Berger, Technometrics 1982).
"""

from collections.abc import Callable
from dataclasses import dataclass

from fulcrum.features.errors import listed
from fulcrum.pipelines.config.run import PromotionConfig
from fulcrum.pipelines.promotion.evidence import Evidence
from fulcrum.pipelines.promotion.gains import Gain, ends
from fulcrum.pipelines.quality.pulls import LEVEL
from fulcrum.pipelines.runs.tables import COLUMNS, metric_cell
from fulcrum.serving.publishing.parity import TOLERANCE

CERTAIN = f"{LEVEL:.0%}"


@dataclass(frozen=True)
class Finding:
    """What one rule says of a version."""

    rule: str
    seen: str
    expected: str
    holds: bool


Judgement = tuple[str, str, bool]
"""What was seen, what was expected, and whether it holds."""


def judge(evidence: Evidence, limits: PromotionConfig) -> list[Finding]:
    """Every rule, in the order of the table."""
    return [Finding(name, *rule(evidence, limits)) for name, rule in RULES.items()]


def held_out(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    seen = f"{evidence.rows:,} rows of the {evidence.split} split"
    return seen, "rows that training did not see", evidence.split != "train"


def constant(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    expected = "each task better than the constant"
    if few := [gain.task for gain in evidence.gains if gain.rows < limits.rows]:
        expected += f"; not worse, where fewer than {limits.rows} rows say it ({listed(few)})"
    useless = [
        gain
        for gain in evidence.gains
        if gain.ends()[0] <= 0
        and (gain.rows >= limits.rows or gain.ends(len(evidence.gains))[1] < 0)
    ]
    if useless:
        return "; ".join(map(_against, useless)), expected, False
    shown = [gain.task for gain in evidence.gains if gain.ends(len(evidence.gains))[0] > 0]
    if not shown:
        return "no task is shown to be better", "at least one task better than the constant", False
    return f"{listed(shown)} shown to be better, none to be worse", expected, True


def champion(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    duel = evidence.duel
    if duel is None:
        return "there is none yet", "none; the constant stands in for it", True
    expected = f"no task worse than version {duel.version} by more than {limits.tolerance:.1%}"
    if duel.problem:
        return f"version {duel.version} cannot score these rows: {duel.problem}", expected, False
    if duel.lost:
        return f"{listed(duel.lost)} missing", f"every task of version {duel.version}", False
    if not duel.gains:
        return "no task can be measured on the rows", expected, False
    comparisons = len(duel.gains)
    worse = [g for g in duel.gains if g.ends(comparisons)[1] < -limits.tolerance * abs(g.other)]
    told = worse or [min(duel.gains, key=lambda g: g.ends(comparisons)[1] / (abs(g.other) or 1.0))]
    seen = "; ".join(_against(gain, comparisons) for gain in told)
    return f"{seen}, on {duel.rows:,} rows", f"{expected}, at {CERTAIN} for all together", not worse


def calibration(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    low, high = 1 / limits.calibration, limits.calibration
    expected = f"mean score over mean label from {low:.2f} to {high:.2f}"
    if not evidence.calibration:
        return "no task promises a mean", expected, True
    comparisons = len(evidence.calibration)
    intervals = {t: (s[0], *ends(s, comparisons)) for t, s in evidence.calibration.items()}
    wrong = [task for task, (_, least, most) in intervals.items() if most < low or least > high]
    told = wrong or [max(intervals, key=lambda t: abs(intervals[t][0] - 1))]
    seen = (
        f"{task} {value:.3f} ({least:.3f} to {most:.3f})"
        for task, (value, least, most) in intervals.items()
        if task in told
    )
    return "; ".join(seen), expected, not wrong


def too_good(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    expected = f"AUC of at most {limits.auc:g}"
    great = [task for task, area in evidence.areas.items() if area > limits.auc]
    told = great or sorted(evidence.areas, key=evidence.areas.__getitem__)[-1:]
    if not told:
        return "no task with two classes has rows enough", expected, True
    return "; ".join(_leak(task, evidence) for task in told), expected, not great


def ripe(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    expected = f"at most {limits.unripe:.0%} of the rows wait for an outcome"
    return _shares(evidence.unripe, limits.unripe, expected, "no task waits for an outcome")


def known(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    expected = f"at most {limits.unknown:.0%} of a feature's ids unknown"
    return _shares(evidence.unknown, limits.unknown, expected, "no feature has ids")


def latency(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    took, expected = (f"{1000 * s:.1f} ms" for s in (evidence.latency, limits.latency))
    return f"{took} for one row", f"at most {expected}", evidence.latency <= limits.latency


def parity(evidence: Evidence, limits: PromotionConfig) -> Judgement:
    expected = f"at most {TOLERANCE:g} between ONNX Runtime and torch"
    return f"{evidence.parity:.1e}", expected, evidence.parity <= TOLERANCE


RULES: dict[str, Callable[[Evidence, PromotionConfig], Judgement]] = {
    "held-out rows": held_out,
    "better than a constant": constant,
    "no worse than the champion": champion,
    "calibration": calibration,
    "not too good to be true": too_good,
    "ripe labels": ripe,
    "known ids": known,
    "latency": latency,
    "parity": parity,
}
"""By the name that a person reads."""


def _against(gain: Gain, comparisons: int = 1) -> str:
    """`auc of click 0.7436 against 0.5000 (gain 0.2349 to 0.2528)`."""
    value, other, low, high = (
        metric_cell(gain.metric, number)
        for number in (gain.value, gain.other, *gain.ends(comparisons))
    )
    heading = COLUMNS[gain.metric][0]
    return f"{heading} of {gain.task} {value} against {other} (gain {low} to {high})"


def _leak(task: str, evidence: Evidence) -> str:
    text = f"{task} has an AUC of {evidence.areas[task]:.4f}"
    if task not in evidence.alone:
        return text
    feature, area = evidence.alone[task]
    return f"{text}, and feature `{feature}` alone one of {area:.4f}"


def _shares(shares: dict[str, float], limit: float, expected: str, none: str) -> Judgement:
    """Of those above a limit, or the largest."""
    above = [name for name, share in shares.items() if share > limit]
    told = above or sorted(shares, key=shares.__getitem__)[-1:]
    seen = ", ".join(f"{name} {shares[name]:.1%}" for name in told)
    return seen or none, expected, not above
