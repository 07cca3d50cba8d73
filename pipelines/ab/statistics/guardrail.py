"""Guard-rails: no worse than a margin, shown rather than assumed."""

from typing import Literal

from fulcrum.pipelines.ab.statistics.effects import Effect

Verdict = Literal["passes", "fails", "undecided"]


def judge(effect: Effect, better: Literal["up", "down"], margin: float) -> Verdict:
    """Non-inferiority by the effect's interval: passes when even its bad end is less than `margin`
    worse than control, fails when even its good end is more than that; else nothing is shown."""
    worst, best = (effect.low, effect.high) if better == "up" else (-effect.high, -effect.low)
    if worst > -margin:
        return "passes"
    return "fails" if best < -margin else "undecided"
