"""The page of a comparison: one HTML file that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fulcrum.pipelines.comparison.balance import Balance, worth
from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.seesaw import Seesaw
from fulcrum.pipelines.comparison.sentences import sentences
from fulcrum.pipelines.comparison.tables import change, percent, signed
from fulcrum.pipelines.runs.tables import COLUMNS

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Facts:
    """What the page says beside the numbers."""

    title: str
    split: str
    """Rows that were measured."""
    protocol: dict[str, str]
    """How it was done: heading and words."""
    settings: dict[str, str]
    """What each network is, in words."""
    trained: dict[str, float]
    """Rows trained per second, by network."""
    fronts: tuple[Sequence[str], Sequence[str]]
    """Networks that no other beats: in mean gain and operations; on all tasks."""
    runs: dict[str, list[tuple[str, str]]]
    """Run id and address of its page, by network, one a seed."""
    notes: dict[str, str]
    """By network, what makes the comparison with it unfair."""
    trials: str
    """How many settings each network was tried with, in words."""


def render(
    seesaw: Seesaw,
    balances: Sequence[Balance],
    costs: Mapping[str, Cost],
    facts: Facts,
    pictures: Mapping[str, Path],
) -> str:
    """The whole page; `balances` are the trunks that have several weightings."""
    environment = Environment(
        loader=PackageLoader("fulcrum.pipelines", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": short,
        "gain": signed,
        "change": change,
        "percent": percent,
        "amount": amount,
        "name": name,
    }
    return environment.get_template("comparison/page.html").render(
        seesaw=seesaw,
        balances=[(comparison, worth(comparison)) for comparison in balances],
        costs=costs,
        facts=facts,
        sentences=sentences(seesaw, facts.notes, facts.trials),
        pictures={title: _inline(file) for title, file in pictures.items()},
    )


def name(metric: str) -> str:
    """The heading of a metric."""
    return COLUMNS[metric][0]


def short(value: float, metric: str) -> str:
    """A metric as people read it."""
    return COLUMNS[metric][1].format(value)


def amount(value: float) -> str:
    """Three digits and a unit: `1.23 M`."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _inline(picture: Path) -> str:
    """An SVG as an address that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.read_bytes()).decode()}"
