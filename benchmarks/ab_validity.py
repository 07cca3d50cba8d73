"""`python -m benchmarks.ab_validity`: are the intervals of an A/B test honest? Measured.

Experiments are simulated in which models do not change: users come once or often, those who come
often click more, and what a user watches is a matter of taste and has a heavy tail, so that rows of
a user are alike. Every method of `fulcrum.pipelines.ab` meets the same experiments twice,

    A/A    without effect: at 5 % it should be wrong in 5 % of them, and its p-values uniform
    A/B    with a known one: its 95 % intervals should hold it in 95 % of them

beside rows taken for users, which are not independent. Two more kinds of test are looked at after
every user: ever being wrong is what should be rarer than 5 %.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.progress import track
from rich.table import Table
from scipy import stats

from fulcrum.pipelines.ab.statistics import (
    bootstrap,
    cuped,
    effects,
    sample_ratio,
    sequential,
)
from fulcrum.pipelines.ab.statistics.effects import Effect
from fulcrum.pipelines.ab.statistics.intervals import clustered
from fulcrum.pipelines.ab.statistics.users import Users
from fulcrum.pipelines.console import terminal
from fulcrum.pipelines.figures.run import FAINT, STYLE, save

DOCS = Path(__file__).parent.parent / "docs"
ALPHA = 0.05
USERS, WATCHED = 800, 4000
"""In an experiment, and in one that is looked at after every user."""
LIFT = 0.2
"""Share by which treatment raises clicks and watch time, where it does."""
VISITS = np.array([2.0, 8.0])
"""Mean number of rows beyond the first of those who come once and of those who come often."""
RATE = np.array([0.1, 0.2])
"""Their mean chance to click in control."""
TASTE, NOISE = 0.7, 0.7
"""Standard deviations of the logarithm of watch time between users, and between a user's rows."""

# Both kinds are as frequent. A row's watch time does not depend on the kind.
CLICKS = LIFT * ((1 + VISITS) * RATE).mean() / (1 + VISITS).mean()
"""True effect on clicks over rows."""
WATCH = LIFT * (1 + VISITS).mean() * np.exp((TASTE**2 + NOISE**2) / 2)
"""True effect on a user's total watch time."""


@dataclass(frozen=True)
class Experiment:
    """What came of one: rows, and users in the order in which they came."""

    unit: np.ndarray
    """`(rows,)` number of each row's user."""
    click: np.ndarray
    watch: np.ndarray
    treated: np.ndarray
    """`(users,)`."""
    before: tuple[np.ndarray, np.ndarray, np.ndarray]
    """`(users,)` clicks, watch time and rows of the pre-period, NaN without a row."""

    def arms(self, users: Users) -> tuple[Users, Users]:
        """Control and treatment."""
        control, treatment = (
            Users(*(None if v is None else v[chosen] for v in vars(users).values()))
            for chosen in (~self.treated, self.treated)
        )
        return control, treatment

    @cached_property
    def clicks(self) -> Users:
        """Clicks over rows."""
        totals = (self._total(v) for v in (self.click, np.ones(len(self.unit))))
        return Users(*totals, self.before[0], self.before[2])

    @cached_property
    def watched(self) -> Users:
        """Total watch time."""
        return Users(self._total(self.watch), np.ones(len(self.treated)), self.before[1])

    def _total(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.unit, values, len(self.treated))


def simulate(rng: np.random.Generator, users: int, lift: float) -> Experiment:
    """One experiment of equal shares. Treatment multiplies the chance to click and the watch time
    by 1 + `lift`."""
    treated = rng.random(users) < 0.5
    often = rng.integers(2, size=users)
    chance = rng.beta(10 * RATE[often], 10 * (1 - RATE[often]))
    taste = rng.normal(0, TASTE, users)
    rows, earlier = 1 + rng.poisson(VISITS[often]), rng.poisson(VISITS[often])
    unit, unit_before = np.repeat(np.arange(users), rows), np.repeat(np.arange(users), earlier)
    watch, watch_before = (
        np.exp(taste[units] + rng.normal(0, NOISE, len(units))) for units in (unit, unit_before)
    )
    raised = 1 + lift * treated  # a chance above 1 is one in a million
    click = rng.random(len(unit)) < (chance * raised)[unit]
    before = rng.binomial(earlier, chance), np.bincount(unit_before, watch_before, users), earlier
    return Experiment(
        unit,
        click.astype(float),
        watch * raised[unit],
        treated,
        tuple(np.where(earlier > 0, v, np.nan) for v in before),
    )


def adjusted(control: Users, treatment: Users) -> Effect:
    """By CUPED."""
    arms = cuped.adjust(control, treatment)
    return effects.compare(arms.control, arms.treatment, ALPHA)


def by_row(experiment: Experiment, values: np.ndarray) -> Effect:
    """As if every row were a user."""
    treated = experiment.treated[experiment.unit]
    rows = (Users(v, np.ones(len(v))) for v in (values[~treated], values[treated]))
    return effects.compare(*rows, ALPHA)


def regressed(experiment: Experiment) -> Effect:
    """Clicks of rows, errors clustered by user."""
    treated = experiment.treated[experiment.unit]
    return clustered.compare(experiment.click, experiment.unit, treated, ALPHA)


NAIVE = "clicks, rows taken for users"
METHODS: dict[str, tuple[Callable[[Experiment], Effect], float]] = {
    "watch time, mean over users": (lambda e: effects.compare(*e.arms(e.watched), ALPHA), WATCH),
    "watch time, CUPED": (lambda e: adjusted(*e.arms(e.watched)), WATCH),
    "clicks, delta method": (lambda e: effects.compare(*e.arms(e.clicks), ALPHA), CLICKS),
    "clicks, CUPED": (lambda e: adjusted(*e.arms(e.clicks)), CLICKS),
    "clicks, bootstrap of users": (lambda e: bootstrap.compare(*e.arms(e.clicks), ALPHA), CLICKS),
    "clicks, regression clustered by user": (regressed, CLICKS),
    NAIVE: (lambda e: by_row(e, e.click), CLICKS),
}
"""What is tried, and the effect that it should find."""


@dataclass(frozen=True)
class Finding:
    """How often a method was right."""

    method: str
    looks: str
    """Once, or after every user."""
    runs: int
    rejected: float
    """Share of A/A experiments with a significant result, at whatever look."""
    ks_p: float | None
    """Of their p-values against the uniform distribution (Kolmogorov and Smirnov)."""
    covered: float | None
    """Share of A/B experiments whose interval holds the true effect, at all looks."""
    off: float | None
    """Mean estimate less the true effect, in standard errors of that mean."""


def band(runs: int, chance: float) -> tuple[float, float]:
    """Shares between which 95 % of the studies of so many runs lie."""
    low, high = stats.binom.ppf([0.025, 0.975], runs, chance) / runs
    return float(low), float(high)


def once(method: str, runs: int) -> Finding:
    """A method that looks at the end."""
    compare, truth = METHODS[method]
    p, estimates, covered = [], [], 0
    for run in track(range(runs), method):
        p.append(compare(simulate(np.random.default_rng(run), USERS, 0)).p_value)
        effect = compare(simulate(np.random.default_rng(run), USERS, LIFT))
        estimates.append(effect.difference)
        covered += effect.low < truth < effect.high
    error = np.std(estimates, ddof=1) / np.sqrt(runs)
    return Finding(
        method,
        "once",
        runs,
        float(np.mean(np.array(p) < ALPHA)),
        float(stats.kstest(p, "uniform").pvalue),
        float(covered / runs),
        float((np.mean(estimates) - truth) / error),
    )


def always(runs: int) -> list[Finding]:
    """What is looked at after every user, watch time for the effects."""
    wrong: dict[str, list[bool]] = {}
    held = []
    for run in track(range(runs), "looking after every user"):
        null, real = (simulate(np.random.default_rng(run), WATCHED, lift) for lift in (0, LIFT))
        path = sequential.sample_path(null.watched, null.treated)
        low, high = ends(null)
        names = np.where(null.treated, "treatment", "control")
        deal = sample_ratio.sequential(names, {"control": 0.5, "treatment": 0.5})
        z = stats.norm.ppf(1 - ALPHA / 2)
        for name, ever in {
            "mSPRT, tau a third of the lift": msprt(path, WATCH / 3),
            "mSPRT, tau of the sequence": msprt(path, None),
            "confidence sequence": (low > 0) | (high < 0),
            "sample ratio, Bayes factor": deal >= np.log(1 / ALPHA),
            "95 % interval of one look": np.abs(path.difference) > z * path.se,
        }.items():
            wrong.setdefault(name, []).append(bool(ever.any()))
        low, high = ends(real)
        held.append(bool(((low < WATCH) & (high > WATCH)).all()))
    return [
        Finding(
            name,
            "after every user",
            runs,
            float(np.mean(ever)),
            None,
            float(np.mean(held)) if name == "confidence sequence" else None,
            None,
        )
        for name, ever in wrong.items()
    ]


def ends(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """Of the confidence sequence of watch time."""
    path = sequential.sample_path(experiment.watched, experiment.treated)
    return sequential.confidence_sequence(path, ALPHA, WATCHED)


def msprt(path: sequential.SamplePath, tau: float | None) -> np.ndarray:
    """After which users there was a significant result."""
    return sequential.msprt(path, WATCHED, tau) < ALPHA


def share(value: float | None) -> str:
    """Empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def to_rich(findings: Sequence[Finding]) -> Table:
    """For the terminal."""
    runs = findings[0].runs
    (low, high), (least, most) = band(runs, ALPHA), band(runs, 1 - ALPHA)
    table = Table(title=f"{runs:,} experiments")
    for name in ("method", "looks", f"wrong without effect\n(once: {low:.3f} to {high:.3f})"):
        table.add_column(name)
    for name in (
        "uniform p (KS)",
        f"true effect covered\n({least:.3f} to {most:.3f})",
        "off, in SE",
    ):
        table.add_column(name)
    for f in findings:
        off = "" if f.off is None else f"{f.off:+.1f}"
        table.add_row(f.method, f.looks, share(f.rejected), share(f.ks_p), share(f.covered), off)
    return table


@matplotlib.rc_context(STYLE)
def picture(findings: Sequence[Finding]) -> Figure:
    """Left how often a method is wrong without an effect, right how often it holds a true one."""
    figure = Figure(figsize=(10, 0.9 + 0.32 * len(findings)), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw(left, findings, [f.rejected for f in findings], ALPHA)
    draw(right, findings, [f.covered for f in findings], 1 - ALPHA)
    left.set(title="Significant without an effect", xlim=(0, None))
    right.set(title="95 % interval holds the true effect")
    right.set_yticklabels([])
    left.legend(loc="upper right")
    return figure


def draw(
    axes: Axes, findings: Sequence[Finding], values: Sequence[float | None], chance: float
) -> None:
    """One dot a method over the band in which those that look once should lie."""
    axes.axvspan(*band(findings[0].runs, chance), color=FAINT, lw=0)
    for looks in dict.fromkeys(f.looks for f in findings):
        dots = [
            (v, y)
            for y, (f, v) in enumerate(zip(findings, values, strict=True))
            if v is not None and f.looks == looks
        ]
        axes.plot(*zip(*dots, strict=True), "o", label=f"looked at {looks}")
    axes.set_yticks(range(len(findings)), [f.method for f in findings])
    axes.set_ylim(len(findings) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def main(
    runs: Annotated[int, typer.Option(min=2, help="Experiments of each kind.")] = 1000,
    output: Annotated[Path, typer.Option(help="Folder of the picture and the table.")] = DOCS,
) -> None:
    """Try every interval where the truth is known."""
    findings = [*(once(method, runs) for method in METHODS), *always(runs)]
    terminal.results.print(to_rich(findings))
    with (output / "ab_validity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Finding)])
        writer.writeheader()
        writer.writerows(asdict(finding) for finding in findings)
    save(picture(findings), output / "ab_validity.png")


if __name__ == "__main__":
    typer.run(main)
