from pathlib import Path
from typing import Annotated

import typer

from fulcrum.pipelines.commands.options import STORE, ExperimentFile, Logs, Set, Tracking


def analyze(
    logs: Logs,
    experiment: ExperimentFile,
    overrides: Set,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the report; `.fulcrum/ab/<name of the experiment>` when left out.",
            show_default=False,
        ),
    ] = None,
    tracking: Tracking = STORE,
) -> None:
    """Say what an A/B test shows: a page, the numbers as JSON, a run in MLflow.

    First a decision for each arm. The exit code is that of the test: 0 ship, for some arm; 3 do not
    ship; 4 keep running; 1 broken, where it is no fair test and effects are withheld.
    """
    from fulcrum.pipelines.ab.log.experiment import Experiment, problems
    from fulcrum.pipelines.config.load import read

    config = read(Experiment, experiment, overrides, problems)

    from fulcrum.pipelines.ab.analysis.decision import EXIT
    from fulcrum.pipelines.ab.analysis.outputs import NUMBERS, PAGE
    from fulcrum.pipelines.ab.analysis.outputs import analyze as run
    from fulcrum.pipelines.console import terminal

    folder = output or Path(".fulcrum", "ab", config.name)
    analysis = run(logs, config, folder, tracking)
    for sentence in analysis.facts.sentences:
        terminal.results.print(sentence, markup=False, soft_wrap=True)
    terminal.results.print(f"page: {folder / PAGE}\nnumbers: {folder / NUMBERS}", soft_wrap=True)
    raise typer.Exit(EXIT[analysis.facts.decision])
