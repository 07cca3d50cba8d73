"""A promotion in words: the description of the version, and the table on the command line."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from fulcrum.pipelines.figures import promotion as figures
from fulcrum.pipelines.figures.run import Interval, save
from fulcrum.pipelines.promotion.evidence import Evidence
from fulcrum.pipelines.promotion.gains import Gain
from fulcrum.pipelines.promotion.rules import Finding
from fulcrum.pipelines.runs.tables import COLUMNS, empty_table, metric_cell

HEADING = "## Promotion"
"""Of the section of a version's description; what a person wrote above it stays."""
LONGEST = 4500
"""Characters of that section; MLflow's databases keep 5,000."""
TEXT, NUMBERS, PICTURE = "promotion.md", "promotion.json", "gains.png"


def headline(broken: Sequence[str], champion: str | None, force: str | None) -> str:
    """What the gate says, in one sentence; `broken` are the rules that do not hold."""
    if not broken:
        return f"Passes the gate, measured against {opponent(champion)}."
    if force is not None:
        return f"Forced past the gate ({force}), which refuses it: {', '.join(broken)}."
    return f"Refused by the gate, measured against {opponent(champion)}: {', '.join(broken)}."


def opponent(champion: str | None) -> str:
    """What a version is measured against."""
    return "a constant" if champion is None else f"version {champion}"


def text(said: str, findings: Sequence[Finding], evidence: Evidence | None) -> str:
    """Markdown: the sentence, a line for each rule, and the metrics by task."""
    lines = [said, "", "| rule | holds | seen | expected |", "| --- | --- | --- | --- |"]
    for finding in findings:
        cells = (finding.rule, "yes" if finding.holds else "**no**", finding.seen, finding.expected)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join([*lines, *([] if evidence is None else ["", *_metrics(evidence)])])


def short(whole: str) -> str:
    """As much of the text as a description may hold, by whole lines."""
    if len(whole) <= LONGEST:
        return whole
    lines = whole[:LONGEST].rpartition("\n")[0]
    return f"{lines}\n\nMore in `promotion/{TEXT}` of the run."


def write(
    folder: Path,
    name: str,
    whole: str,
    findings: Sequence[Finding],
    evidence: Evidence | None,
    tolerance: float,
) -> None:
    """The text, the same as numbers, and a picture, as files in a folder."""
    (folder / TEXT).write_text(f"# {name}\n\n{whole}\n", encoding="utf-8")
    facts = {"rules": [asdict(f) for f in findings], "tasks": _numbers(evidence)}
    (folder / NUMBERS).write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    if evidence is not None and (measured := _measured(evidence)):
        against = opponent(None if evidence.duel is None else evidence.duel.version)
        bars = {gain.task: _bar(gain, len(measured)) for gain in measured}
        allowed = 0.0 if evidence.duel is None else 100 * tolerance
        figure = figures.gains(f"{name} against {against}", bars, allowed)
        save(figure, folder / PICTURE)


def table(title: str, findings: Sequence[Finding]) -> Table:
    """A line for each rule, red where it does not hold."""
    lines = empty_table(title)
    lines.add_column("rule", no_wrap=True)
    lines.add_column("holds")
    lines.add_column("seen", overflow="fold")
    lines.add_column("expected", overflow="fold")
    for finding in findings:
        style = "" if finding.holds else "red"
        holds = "yes" if finding.holds else "no"
        cells = map(Text, (finding.rule, holds, finding.seen, finding.expected))
        lines.add_row(*cells, style=style)
    return lines


def _cell(words: str) -> str:
    """As a table of Markdown takes it."""
    return " ".join(words.split()).replace("|", "\\|")


def _metrics(evidence: Evidence) -> list[str]:
    """A table in Markdown of the metric that each task is judged by."""
    champion = {gain.task: gain for gain in evidence.duel.gains} if evidence.duel else {}
    other = f" version {evidence.duel.version} |" if evidence.duel else ""
    rule = " ---: |" if evidence.duel else ""
    lines = [f"| task | metric | this version | constant |{other}"]
    lines.append(f"| --- | --- | ---: | ---: |{rule}")
    for gain in evidence.gains:
        cells = [gain.task, COLUMNS[gain.metric][0]]
        cells += [metric_cell(gain.metric, value) for value in (gain.value, gain.other)]
        if evidence.duel:
            theirs = champion.get(gain.task)
            cells.append(metric_cell(gain.metric, theirs.other if theirs else None))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _measured(evidence: Evidence) -> Sequence[Gain]:
    """The gains that the picture shows."""
    return evidence.gains if evidence.duel is None else evidence.duel.gains


def _numbers(evidence: Evidence | None) -> dict[str, dict[str, float | str | None]]:
    if evidence is None:
        return {}
    measured = _measured(evidence)
    return {
        gain.task: {
            "metric": gain.metric,
            "value": gain.value,
            "against": gain.other,
            **dict(zip(("low", "high"), map(_finite, gain.ends(len(measured))), strict=True)),
        }
        for gain in measured
    }


def _bar(gain: Gain, comparisons: int) -> Interval:
    scale = 100 / (abs(gain.other) or 1.0)
    low, high = (
        None if (e := _finite(end)) is None else scale * e for end in gain.ends(comparisons)
    )
    return scale * float(gain.samples[0]), low, high


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
