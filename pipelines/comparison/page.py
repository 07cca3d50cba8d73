"""The page of a comparison: one HTML file that needs nothing else."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fulcrum.features.errors import listed
from fulcrum.pipelines.comparison.balance import Balance, worth
from fulcrum.pipelines.comparison.cost import Cost
from fulcrum.pipelines.comparison.seesaw import Seesaw
from fulcrum.pipelines.comparison.tables import signed
from fulcrum.pipelines.runs.tables import COLUMNS

NAMED = 3
"""Networks whose seesaw is told in words; the others are counted."""
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
    environment.filters |= {"short": short, "gain": signed, "amount": amount, "name": name}
    return environment.get_template("comparison/page.html").render(
        seesaw=seesaw,
        balances=[(comparison, worth(comparison)) for comparison in balances],
        costs=costs,
        facts=facts,
        sentences=sentences(seesaw),
        pictures={title: _inline(file) for title, file in pictures.items()},
    )


def sentences(seesaw: Seesaw) -> list[str]:
    """What came out, in words: who serves most tasks, and who paid."""
    return [_winner(seesaw), _payers(seesaw), _chance(seesaw)]


def _winner(seesaw: Seesaw) -> str:
    wins = {network: seesaw.wins(network) for network in seesaw.ranked()}
    best = max(wins, key=lambda network: len(wins[network]))
    if not wins[best]:
        return "No task has a metric that is defined on these rows."
    equal = [n for n in wins if n != best and len(wins[n]) == len(wins[best])]
    most = f"as many as {listed(equal)} but with a higher mean gain" if equal else "most of all"
    tasks = f"{len(wins[best])} of {len(seesaw.tasks)} tasks"
    served = f"{best} is the best on {tasks}, {most}: {listed(wins[best])}"
    if best == seesaw.single:
        return f"{served}. No network that shares serves more."
    up, down = (listed(tasks_of(best)) or "none" for tasks_of in (seesaw.rises, seesaw.falls))
    mean = seesaw.mean_gain(best)
    change = "" if mean is None else f", and gains {mean:+.2f} % on average over all tasks"
    return f"{served}. It is clearly above single-task on {up}, clearly below on {down}{change}."


def _payers(seesaw: Seesaw) -> str:
    fallen = {n: seesaw.falls(n) for n in seesaw.ranked() if seesaw.falls(n)}
    if not fallen:
        return "No task paid for another: none falls clearly below its single-task network."
    named = list(fallen)[:NAMED]
    text = "; ".join(_paid(network, fallen[network], seesaw.rises(network)) for network in named)
    sentence = f"{text[0].upper()}{text[1:]}."
    if named == list(fallen):
        return sentence
    often = Counter(task for tasks in fallen.values() for task in tasks).most_common(1)
    [(task, times)] = often
    return (
        f"{sentence} Some task falls in {len(fallen)} of {len(seesaw.networks) - 1} networks, most "
        f"often {task} ({times} times)."
    )


def _paid(network: str, fallen: Sequence[str], risen: Sequence[str]) -> str:
    if risen:
        return f"in {network}, {listed(fallen)} paid for {listed(risen)}"
    return f"in {network}, {listed(fallen)} fell and none rose"


def _chance(seesaw: Seesaw) -> str:
    others = [n for n in seesaw.networks if n != seesaw.single]
    judged = [s for n in others for s in seesaw.judged(n).values()]
    sure = sum(s.gain.rises or s.gain.falls for s in judged)
    return (
        f"{sure} of {len(judged)} gains are clear, which means that their interval leaves out 0; "
        "of gains that are none, about one in twenty would look so."
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
