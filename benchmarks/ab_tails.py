"""`python -m benchmarks.ab_tails`: how often a tail makes a difference where there is none.

Tests without an effect, of metrics whose tail is short, long and very long, in arms of one size and
in a small one beside a large one. Welch's interval and the bootstrap's are taken as they are, and
then what `fulcrum.pipelines.ab.statistics.effects` takes by the rule of `statistics.skewness`.
Both sides together should be wrong in 5 % of tests at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import typer
from rich.table import Table
from scipy import stats

from fulcrum.pipelines.ab.statistics import bootstrap, effects
from fulcrum.pipelines.ab.statistics.users import Users
from fulcrum.pipelines.console import terminal

Draw = Callable[[np.random.Generator, int], np.ndarray]
LAWS: dict[str, Draw] = {
    "exponential": lambda rng, n: rng.exponential(1, n),
    "spend of 5 % of users": lambda rng, n: (rng.random(n) < 0.05) * rng.lognormal(0, 1, n),
    "lognormal, sigma 1.5": lambda rng, n: rng.lognormal(0, 1.5, n),
    "lognormal, sigma 3": lambda rng, n: rng.lognormal(0, 3, n),
    "conversions, 0.5 %": lambda rng, n: (rng.random(n) < 0.005).astype(float),
}
SIZES = [(1000, 1000), (1800, 200), (4950, 50)]
"""Users of control and of treatment."""
WAYS = ("welch", "bootstrap", "rule")


@dataclass(frozen=True)
class Claims:
    """Shares of tests in which treatment was said to be worse, and better, by each way."""

    law: str
    sizes: tuple[int, int]
    worse: dict[str, float]
    better: dict[str, float]


def claims(law: str, sizes: tuple[int, int], tests: int, draws: int = 200) -> Claims:
    """Of so many tests."""
    rng = np.random.default_rng(0)
    found = np.zeros((len(WAYS), 2))
    for _ in range(tests):
        arms = [Users(LAWS[law](rng, size), np.ones(size)) for size in sizes]
        test = stats.ttest_ind(arms[1].numerator, arms[0].numerator, equal_var=False)
        low, high = test.confidence_interval() if np.isfinite(test.pvalue) else (0.0, 0.0)
        ends = [(low, high)]
        constant = any(np.ptp(arm.numerator) == 0 for arm in arms)
        drawn = None if constant else bootstrap.compare(arms[0], arms[1], draws=draws)
        ends.append((low, high) if drawn is None else (drawn.low, drawn.high))
        effect = effects.compare(arms[0], arms[1])
        ends.append((effect.low, effect.high))
        found += [(end[1] < 0, end[0] > 0) for end in ends]
    shares = found / tests
    worse, better = (dict(zip(WAYS, shares[:, k].tolist(), strict=True)) for k in (0, 1))
    return Claims(law, sizes, worse, better)


def to_rich(results: Sequence[Claims]) -> Table:
    """One line a law and sizes: worse / better."""
    table = Table(box=None)
    for name in ("metric", "users", *WAYS):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for one in results:
        cells = [f"{one.worse[way]:.3f} / {one.better[way]:.3f}" for way in WAYS]
        table.add_row(one.law, f"{one.sizes[0]:,} + {one.sizes[1]:,}", *cells)
    return table


def main(tests: int = 1000) -> None:
    """Print the table."""
    terminal.results.print(to_rich([claims(law, s, tests) for law in LAWS for s in SIZES]))


if __name__ == "__main__":
    typer.run(main)
