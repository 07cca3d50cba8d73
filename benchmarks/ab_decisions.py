"""`python -m benchmarks.ab_decisions`: is the decision of an A/B report honest? Measured.

Simulated tests go through the whole report, from the rows of a log to the page, on every day of a
week; whoever reads it ships as soon as it says `ship`.

    A/A             both arms are the same: shipping is wrong, and should be in 5 % at most
    A/A, learning   the same, of five models an arm that are each off by the luck of their training
    A/B             treatment is better by what the page says that a test of this size finds in 80 %

Users come over all days and go on coming to the end of the test, so that a look at a day
knows only a part of what those do who have come.
"""

import csv
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from rich.progress import track
from rich.table import Table
from scipy import stats

from benchmarks.ab_validity import DOCS, simulate
from fulcrum.pipelines.ab.analysis.analyse import analyse
from fulcrum.pipelines.ab.analysis.decision import Decided
from fulcrum.pipelines.ab.analysis.facts import Facts
from fulcrum.pipelines.ab.analysis.page import render
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.console import terminal

USERS, DAYS = 2000, 7
INSTANCES, LUCK = 5, 0.1
"""Of each arm's model, and the standard deviation of what training adds to the logarithm of an
instance's clicks and watch time."""
PILOT = 10**6
"""Seed of the test whose page says what is found in 80 %."""
TEST = Experiment.model_validate(
    {
        "name": "decisions",
        "arms": {"control": {"share": 0.5}, "treatment": {"share": 0.5}},
        "analysis": {
            "log": {"time": {"column": "time"}, "instance": "instance"},
            "metrics": {
                "watch": {"kind": "mean", "value": "watch", "role": "primary"},
                "ctr": {"kind": "ratio", "numerator": "click"},
            },
            "plan": {"kind": "sequential", "tuned_for": USERS},
        },
    }
)


@dataclass(frozen=True)
class Shipped:
    """How often the report of some day said `ship`."""

    tests: str
    runs: int
    shipped: int
    share: float
    low: float
    """Ends of its 95 % interval (Clopper and Pearson)."""
    high: float


def rows(seed: int, effect: float, learning: bool) -> pl.DataFrame:
    """The log of a whole test. Treatment adds `effect` to each user's watch time, in equal parts to
    all of their rows, which leaves its variance as it is."""
    rng = np.random.default_rng(seed)
    made = simulate(rng, USERS, 0.0)
    came = np.arange(USERS) * DAYS // USERS
    day = came[made.unit] + (rng.random(len(made.unit)) * (DAYS - came[made.unit])).astype(int)
    treated = made.treated[made.unit].astype(int)
    luck = np.exp(rng.normal(0, LUCK, (2, INSTANCES)))[treated, made.unit % INSTANCES]
    added = treated * effect / np.bincount(made.unit)[made.unit]
    began = np.datetime64("2024-03-04", "us").astype(np.int64)
    second = rng.integers(0, 24 * 3600, len(made.unit))
    return pl.DataFrame(
        {
            "user_id": made.unit,
            "arm": np.array(["control", "treatment"])[treated],
            "day": day,
            "time": pl.Series(began + (day * 24 * 3600 + second) * 1_000_000).cast(
                pl.Datetime("us")
            ),
            "click": made.click,
            "watch": made.watch * (luck if learning else 1.0) + added,
            "instance": made.unit % INSTANCES if learning else np.zeros(len(made.unit), dtype=int),
        }
    )


def report(log: pl.DataFrame) -> Facts:
    """All that `fulcrum ab analyze` finds, and its page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "log.parquet")
        log.write_parquet(file)
        facts = analyse([str(file)], TEST)
    render(facts, {})
    return facts


def decided(log: pl.DataFrame) -> Decided:
    """`ship` if the report of some day says so; else what that of the last day says."""
    facts = None
    for day in range(1, DAYS + 1):
        facts = report(log.filter(pl.col("day") < day))
        if facts.decision == "ship":
            break
    assert facts is not None
    return facts.decision


def promised() -> float:
    """The effect that the page of such a test says is found in 80 %."""
    return report(rows(PILOT, 0.0, learning=False)).metrics[0].effects[0].detectable


def shipped(tests: str, seeds: range, effect: float, learning: bool) -> Shipped:
    """Of the tests of some seeds."""
    found = sum(decided(rows(seed, effect, learning)) == "ship" for seed in track(seeds, tests))
    ends = stats.binomtest(found, len(seeds)).proportion_ci()
    return Shipped(tests, len(seeds), found, found / len(seeds), ends.low, ends.high)


def study(runs: int) -> list[Shipped]:
    """Half of the A/A tests are of models that learn."""
    half = runs // 2
    return [
        shipped("A/A", range(half), 0.0, learning=False),
        shipped("A/A, learning", range(half, runs), 0.0, learning=True),
        shipped("A/B", range(runs, 2 * runs), promised(), learning=False),
    ]


def to_rich(found: list[Shipped]) -> Table:
    """For the terminal."""
    table = Table("tests", "runs", "shipped", "share", "95 % interval")
    for one in found:
        ends = f"{one.low:.3f} to {one.high:.3f}"
        table.add_row(one.tests, str(one.runs), str(one.shipped), f"{one.share:.3f}", ends)
    return table


def main(
    runs: Annotated[int, typer.Option(min=2, help="Tests without and with an effect.")] = 200,
    output: Annotated[Path, typer.Option(help="Folder of the table.")] = DOCS,
) -> None:
    """Ship by the first report that says so, where the truth is known."""
    found = study(runs)
    terminal.results.print(to_rich(found))
    with (output / "ab_decisions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Shipped)])
        writer.writeheader()
        writer.writerows(asdict(one) for one in found)


if __name__ == "__main__":
    typer.run(main)
