"""`python -m benchmarks.null_comparison CONFIG`: what `fulcrum compare` marks of nothing.

One network is trained with many seeds, and its runs are dealt into tables as if they were several
networks with a few seeds each. No network of such a table is better than another, so every mark
is false. A table is wrong that has any; at most one in twenty should be.

Tables share runs and all are measured on the same rows, so their number says nothing of how sure
the rate is: twice as many runs do, or other rows. Simulated worlds, each with users and seeds of
its own, are in the tests of `comparison.gains`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track
from rich.table import Table

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.comparison.seesaw import standings
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.pulls import Samples, with_pulls
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import train

SEEDS = (2, 3, 5)
TABLES = 200


@dataclass(frozen=True)
class Rate:
    """Of false marks, by seeds of each network."""

    seeds: int
    networks: int
    """In a table, the control among them."""
    tables: int = 0
    wrong: int = 0
    """Tables with a mark."""
    marks: int = 0
    gains: int = 0


def samples_of(run: RunConfig, dataset: PreparedDataset, seeds: int) -> list[Samples]:
    """The metrics of one network on the test split, by seed."""
    found = []
    for seed in track(range(seeds), "training", transient=True):
        seeded = run.model_copy(update={"train": run.train.model_copy(update={"seed": seed})})
        with tempfile.TemporaryDirectory() as folder:
            result = train(seeded, dataset, Path(folder))
            found.append(with_pulls(evaluate(seeded, dataset, result.checkpoint)))
    return found


def deal(runs: Sequence[Samples], seeds: int, tables: int = TABLES) -> Rate:
    """What is marked in tables of as many networks as the runs allow, whatever the size of a
    gain."""
    random, rate = np.random.default_rng(seeds), Rate(seeds, len(runs) // seeds)
    for _ in range(tables):
        order = random.permutation(len(runs))[: rate.networks * seeds].reshape(-1, seeds)
        networks = {str(name): [runs[i] for i in dealt] for name, dealt in enumerate(order)}
        found = standings(networks, "0", relevant=0)
        marks = [s.gain.mark != 0 for n, by_key in found.items() if n != "0"
                 for s in by_key.values()]  # fmt: skip
        rate = replace(
            rate,
            tables=rate.tables + 1,
            wrong=rate.wrong + any(marks),
            marks=rate.marks + sum(marks),
            gains=rate.gains + len(marks),
        )
    return rate


def main(
    config: Path,
    runs: Annotated[int, typer.Option(min=10, help="Trainings, one a seed.")] = 20,
) -> None:
    """Train, deal and count."""
    from fulcrum.pipelines.config.load import load
    from fulcrum.pipelines.console import terminal
    from fulcrum.pipelines.runs.prepare import prepare_dataset

    run = load(config, [])
    samples = samples_of(run, prepare_dataset(run, terminal.messages), runs)
    table = Table("seeds", "networks", "tables", "with a false mark", "marks", "of gains")
    for seeds in SEEDS:
        rate = deal(samples, seeds)
        share = f"{rate.wrong / rate.tables:.1%}"
        counts = map(str, (rate.tables, share, rate.marks, rate.gains))
        table.add_row(str(seeds), str(rate.networks), *counts)
    terminal.results.print(table)


if __name__ == "__main__":
    typer.run(main)
