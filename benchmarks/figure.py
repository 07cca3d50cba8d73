"""One figure of the table, and the table."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.rounds import Rates

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("what", "measured", "ratio", "to", "aim", "spread")
WIDTH = 160
"""Characters of a line where the output is no terminal."""


@dataclass(frozen=True)
class Figure:
    """What was timed, and against what."""

    what: str
    measured: str
    ratio: float | None = None
    to: str = ""
    """What the ratio is to."""
    aim: float | None = None
    """The ratio should be no less."""
    spread: str = ""
    """From the slowest round to the fastest, or what else explains the figure."""

    @property
    def missed(self) -> bool:
        return self.ratio is not None and self.aim is not None and self.ratio < self.aim

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of `COLUMNS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        aim = "" if self.aim is None else f"{self.aim:.2f}" + " (missed)" * self.missed
        return self.what, self.measured, ratio, self.to, aim, self.spread


def per_second(
    rates: Rates,
    name: str,
    unit: str = "rows/s",
    limit: str | None = None,
    aim: float | None = None,
) -> Figure:
    """A rate among those timed side by side, as a ratio to another of them."""
    slowest, fastest = rates.spread(name)
    return Figure(
        name,
        f"{_number(rates.median(name))} {unit}",
        None if limit is None else rates.ratio(name, limit),
        limit or "",
        aim,
        f"{_number(slowest)} to {_number(fastest)}",
    )


def limited(what: str, measured: str, ratio: float | None, limit: str, spread: str = "") -> Figure:
    """A figure that has its own aim: at a ratio of 1 it is met. Without a ratio it has none."""
    if ratio is None:
        return Figure(what, measured, spread=spread)
    return Figure(what, measured, ratio, limit, 1.0, spread)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.2f}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """On the terminal."""
    table = Table(*COLUMNS, title=title, title_justify="left", box=SIMPLE_HEAD)
    for figure in figures:
        table.add_row(*figure.cells)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def save(path: Path, machine: str, parts: Mapping[str, Sequence[Figure]]) -> None:
    """Write the tables as Markdown, each under its title, what has a ratio first."""
    text = f"{machine}\n"
    for title, figures in parts.items():
        ordered = sorted(figures, key=lambda figure: figure.ratio is None)
        rows = [COLUMNS, ["---"] * len(COLUMNS), *(figure.cells for figure in ordered)]
        text += f"\n## {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
