"""Numbers as sentences: what a reader may conclude, with the interval that it rests on."""

import math

from fulcrum.features.errors import listed
from fulcrum.pipelines.ab.analysis.facts import Check, Instances, Judged
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


def interval(effect: Effect, alpha: float) -> str:
    """The difference and its interval, then the same relative to control where that is known."""
    se = effect.se
    low, high = number(effect.low, se, True), number(effect.high, se, True)
    text = f"{number(effect.difference, se, True)} ({level(alpha)} interval {low} to {high})"
    if effect.relative is None or effect.relative_low is None or effect.relative_high is None:
        return text
    ends = f"{percent(effect.relative_low)} to {percent(effect.relative_high)}"
    return f"{text}, relative {percent(effect.relative)} ({ends})"


def level(alpha: float) -> str:
    """Of an interval: `95 %`."""
    return f"{100 * (1 - alpha):g} %"


def p(value: float) -> str:
    """A p-value in two digits."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def verdict(judged: Judged, control: str, alpha: float) -> str:
    """What one metric says about one arm."""
    effect = judged.effect
    values = (
        f"{number(judged.raw.treatment, effect.se)} against {number(judged.raw.control, effect.se)}"
    )
    adjusted = ", adjusted for the pre-period" if judged.cuped else ""
    change = f"{values}, difference {interval(effect, alpha)}{adjusted}"
    if judged.verdict == "no difference shown":
        return (
            f"{judged.metric}: no difference shown between {judged.arm} and {control}: {change}. "
            f"{detectable(judged)}"
        )
    multiple = ""
    if judged.adjustment != "none":
        name = {"holm": "Holm", "benjamini_hochberg": "Benjamini-Hochberg"}[judged.adjustment]
        multiple = f"; {p(judged.adjusted_p)} after {name}"
    return (
        f"{judged.metric} is {judged.verdict} in {judged.arm} than in {control}: "
        f"{change}{multiple}."
    )


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


def guardrail(judged: Judged, alpha: float) -> str:
    """Whether a guard-rail holds, as non-inferiority."""
    assert judged.guardrail is not None and judged.margin is not None
    effect = judged.effect
    bad = effect.low if judged.better == "up" else effect.high
    margin = number(judged.margin, effect.se)
    change = f"difference {interval(effect, alpha)}"
    if judged.guardrail == "passes":
        return (
            f"Guard-rail {judged.metric} passes in {judged.arm}: even the bad end of the interval, "
            f"{number(bad, effect.se, True)}, is less than the margin of {margin} worse; {change}."
        )
    if judged.guardrail == "fails":
        return (
            f"Guard-rail {judged.metric} fails in {judged.arm}: the whole interval is more than "
            f"the margin of {margin} worse; {change}."
        )
    return (
        f"Guard-rail {judged.metric} is undecided in {judged.arm}: the interval holds changes on "
        f"both sides of the margin of {margin}; {change}. {detectable(judged)}"
    )


def disagreement(judged: Judged) -> str:
    """Where formula and bootstrap differ."""
    se, drawn = judged.raw.se, judged.bootstrap
    assert drawn is not None
    return (
        f"{judged.metric}: drawing users again gives {number(drawn.low, se, True)} to "
        f"{number(drawn.high, se, True)}, which is not the interval of the formula, "
        f"{number(judged.raw.low, se, True)} to {number(judged.raw.high, se, True)}: trust neither "
        "before you know which users cause it."
    )


def instances(judged: Judged, replications: Instances, alpha: float) -> str:
    """What instances of the models add to the interval over users."""
    over = replications.replicated
    se = over.spread / math.sqrt(over.instances)
    ends = f"{number(over.low, se, True)} to {number(over.high, se, True)}"
    change = (
        f"{judged.metric}: over {over.instances} instances of each arm's model the difference is "
        f"{number(over.difference, se, True)} ({level(alpha)} interval {ends})"
    )
    if over.low > 0 or over.high < 0:
        return f"{change}: it is there however the models happened to be trained."
    if judged.verdict == "no difference shown":
        return f"{change}: with the chance of training counted, too, no difference shown."
    return (
        f"{change}: no difference shown with the chance of training counted. What users show holds "
        "for these trained models, and need not for the recommenders behind them."
    )


def withheld(checks: list[Check]) -> str:
    """The verdict line of a test that is broken."""
    return (
        f"Stop: {listed([check.name for check in checks])} failed, so this is no fair comparison "
        f"of the arms, and effects are withheld. {checks[0].sentence}"
    )


def doubted(checks: list[Check]) -> str:
    """What stands before the verdict where a check fails that does not stop."""
    return f"With doubt, because a check failed ({listed([check.name for check in checks])}): "


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
