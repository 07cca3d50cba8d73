"""Numbers as sentences: what a reader may conclude, with the interval that it rests on."""

import math

from fulcrum.pipelines.ab.analysis.facts import Instances, Judged, Plan
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.off_policy import Value

UNIT_NOTE = (
    "The log does not say which rows are of one user, so every row is taken as a unit. Intervals "
    "are too narrow if users return."
)


SCARCE = 0.01
"""Effective share of rows below which an off-policy value says nothing."""


def number(value: float, se: float, sign: bool = False) -> str:
    """With as many decimals as its standard error justifies: two digits of that."""
    decimals = 4
    if se > 0 and math.isfinite(se):
        decimals = min(max(1 - math.floor(math.log10(se)), 0), 12)
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return text if float(text) else text.replace("-", "+" if sign else "")


def percent(share: float, sign: bool = True) -> str:
    """A relative change."""
    text = f"{100 * share:{'+' if sign else ''}.{1 if abs(share) < 0.1 else 0}f}"
    return f"{text} %"


def interval(effect: Effect, alpha: float, looking: bool = False) -> str:
    """The difference and its interval, then the same relative to control where that is known.
    looking: whether the interval holds at all looks together."""
    se = effect.se
    low, high = number(effect.low, se, True), number(effect.high, se, True)
    kind = "interval at all looks" if looking else "interval"
    text = f"{number(effect.difference, se, True)} ({level(alpha)} {kind} {low} to {high})"
    if effect.relative is None or effect.relative_low is None or effect.relative_high is None:
        return text
    ends = f"{percent(effect.relative_low)} to {percent(effect.relative_high)}"
    return f"{text}, relative {percent(effect.relative)} ({ends})"


def level(alpha: float) -> str:
    """Of an interval: `95 %`."""
    return f"{100 * (1 - alpha):.4g} %"


def p(value: float) -> str:
    """A p-value in two digits."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def change(judged: Judged) -> str:
    """The difference that is judged, with its interval."""
    return interval(judged.effect, judged.alpha, judged.looking)


def verdict(judged: Judged, plan: Plan) -> str:
    """What one metric says about one arm."""
    se = judged.effect.se
    values = f"{number(judged.raw.treatment, se)} against {number(judged.raw.control, se)}"
    adjusted = ", adjusted for the pre-period" if judged.cuped else ""
    numbers = f"{values}, difference {change(judged)}{adjusted}; {p_values(judged)}"
    arms = f"{judged.arm} and {judged.against}"
    if judged.verdict == "not judged yet":
        return (
            f"{judged.metric} is not judged between {arms} before the planned end, {plan.ends}: so "
            f"far {numbers}."
        )
    if judged.verdict == "no difference shown":
        return (
            f"{judged.metric}: no difference shown between {arms}: {numbers}. {detectable(judged)}"
        )
    if judged.verdict == "in doubt":
        return f"{judged.metric}: a difference between {arms} is in doubt: {numbers}."
    return (
        f"{judged.metric} is {judged.verdict} in {judged.arm} than in {judged.against}: {numbers}."
    )


def p_values(judged: Judged) -> str:
    """Raw, and beside it what it is worth among so many comparisons."""
    raw = p(judged.effect.p_value)
    if judged.adjustment == "none":
        return raw
    name = {"bonferroni": "Bonferroni", "benjamini_hochberg": "Benjamini-Hochberg"}
    return (
        f"{raw}, {p(judged.adjusted_p)} among {judged.comparisons} comparisons "
        f"({name[judged.adjustment]})"
    )


def said(judged: Judged) -> str:
    """The verdict in a word or two, of a guard-rail by its margin."""
    if judged.guardrail is None or judged.verdict == "not judged yet":
        return judged.verdict
    if judged.guardrail == "passes" and judged.standing != "good":
        return "in doubt"
    return judged.guardrail


def detectable(judged: Judged) -> str:
    """What the test could have shown."""
    base = abs(judged.raw.control)
    relative = ""
    if judged.effect.relative is not None and base > 0:
        relative = f" ({percent(judged.detectable / base, sign=False)} of control's value)"
    size = number(judged.detectable, judged.effect.se)
    return (
        f"A true difference of {size}{relative} is what a test of this size finds in 80 % of cases."
    )


def guardrail(judged: Judged, plan: Plan) -> str:
    """Whether a guard-rail holds, as non-inferiority."""
    assert judged.guardrail is not None and judged.margin is not None
    effect = judged.effect
    bad = effect.low if judged.better == "up" else effect.high
    margin = number(judged.margin, effect.se)
    difference = f"difference {change(judged)}"
    name = f"Guard-rail {judged.metric}"
    if not plan.reached:
        return (
            f"{name} is not judged in {judged.arm} before the planned end, {plan.ends}: so far "
            f"{difference}; the margin is {margin}."
        )
    if judged.guardrail == "passes":
        does = "passes" if judged.standing == "good" else "would pass, but is in doubt,"
        return (
            f"{name} {does} in {judged.arm}: even the bad end of the interval, "
            f"{number(bad, effect.se, True)}, is less than the margin of {margin} worse; "
            f"{difference}."
        )
    if judged.guardrail == "fails":
        return (
            f"{name} fails in {judged.arm}: the whole interval is more than the margin of {margin} "
            f"worse; {difference}."
        )
    return (
        f"{name} is undecided in {judged.arm}: the interval holds changes on both sides of the "
        f"margin of {margin}; {difference}."
    )


def disagreement(where: str, formula: Effect, drawn: Effect) -> str:
    """Where formula and bootstrap differ."""
    se = formula.se
    return (
        f"{where}: drawing users again gives {number(drawn.low, se, True)} to "
        f"{number(drawn.high, se, True)}, which is not the interval of the formula for one look, "
        f"{number(formula.low, se, True)} to {number(formula.high, se, True)}: trust neither "
        "before you know which users cause it."
    )


def changed(where: str, now: Effect) -> str:
    """Where the intervals of early and late looks have nothing in common."""
    return (
        f"{where}: no effect lies in the intervals of early and of late looks, so it changes on "
        f"the way (all units together differ by {number(now.difference, now.se, True)}), and the "
        "interval at all looks is that of the looks before."
    )


def no_instances(where: str, problem: str) -> str:
    """Where a log has several models of an arm, and they cannot be compared."""
    return (
        f"{where}: model instances are not compared, so nothing is known of the chance of "
        f"training: {problem}."
    )


def instances(judged: Judged, replications: Instances, plan: Plan) -> str:
    """What instances of the models add to the interval over users."""
    over = replications.replicated
    se = over.spread / math.sqrt(over.instances)
    ends = f"{number(over.low, se, True)} to {number(over.high, se, True)}"
    difference = (
        f"{judged.metric}: over {over.instances} instances of each arm's model the difference is "
        f"{number(over.difference, se, True)} ({level(judged.alpha)} interval {ends})"
    )
    if not plan.reached:
        return f"{difference}, so far."
    if judged.lucky:
        return (
            f"{difference}: no difference shown with the chance of training counted. What users "
            "show holds for these trained models, and need not for the recommenders behind them."
        )
    if judged.clear:
        return f"{difference}: the chance of training does not explain it."
    if over.low > 0 or over.high < 0:
        return f"{difference}: so instances alone would show one; over users none is shown."
    return f"{difference}: with the chance of training counted, too, no difference shown."


def policy(
    target: str,
    log: str,
    observed: tuple[float, float, float],
    value: Value,
    rows: int,
    alpha: float,
) -> str:
    """A policy's value from the log of another, by SNIPS."""
    se = (value.high - value.low) / 4
    worth, low, high = (number(v, se) for v in (value.value, value.low, value.high))
    earnings = [number(v, se) for v in observed]
    share = value.effective_size / rows
    if share < SCARCE:
        caveat = (
            f"So few rows carry all the weight (the largest is {value.largest_weight:,.0f}) that "
            "neither the value nor its interval is to be relied on."
        )
    elif value.low > observed[2] or value.high < observed[1]:
        caveat = (
            "The two do not fit together: propensities are wrong, or the arms differ in more than "
            "what they choose."
        )
    else:
        caveat = "The two intervals overlap."
    return (
        f"{target} is worth {worth} ({level(alpha)} interval {low} to {high}) by the log of {log}, "
        f"whose {rows:,} rows count as {value.effective_size:,.0f}; in its own log it earned "
        f"{earnings[0]} ({earnings[1]} to {earnings[2]}). {caveat}"
    )
