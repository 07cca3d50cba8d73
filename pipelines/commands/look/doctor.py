from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, Tracking

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def doctor(
    tracking: Tracking = STORE,
    workspace: Annotated[Path, typer.Option(help="Folder for data sets and runs.")] = Path(
        ".fulcrum"
    ),
) -> None:
    """Check this machine, and print the fix for what is wrong.

    Tries each part instead of trusting its version: a look-up through TorchRec, a graph on every
    ONNX Runtime provider, a write to the MLflow store. Exits with 2 when something fails.
    """
    from rich.markup import escape

    from fulcrum.pipelines.console.terminal import results
    from fulcrum.pipelines.doctor import examine

    failures = 0
    for finding in examine(tracking, workspace):
        failures += finding.status == "fail"
        results.print(f"{MARKS[finding.status]} {finding.name}: {escape(finding.detail)}")
        if finding.fix:
            results.print(f"     fix: {escape(finding.fix)}")
    if failures:
        raise typer.Exit(2)
