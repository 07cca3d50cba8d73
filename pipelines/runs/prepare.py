"""Preparation as a person sees it: a bar on a terminal, a log line for each step elsewhere."""

import logging
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs import report as propensity_report

logger = logging.getLogger(__name__)


def prepare_dataset(config: RunConfig, console: Console) -> PreparedDataset:
    """The prepared data set of a run, weighted by its design of an A/B test if it has one; made
    when it is not there yet."""
    columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        shown = bar.add_task("prepare", total=None)
        steps: list[str] = []

        def told(what: str, done: int, total: int) -> None:
            if what not in steps:
                steps.append(what)
                if not console.is_terminal:
                    logger.info("prepare: %s", what)
            bar.update(shown, description=f"prepare: {what}", completed=done, total=total)

        dataset = prepare(config, Path(config.workspace), told)
        if config.experiment_design is not None:
            from fulcrum.pipelines.designs.reweighting import reweight

            dataset = reweight(dataset, config.experiment_design, Path(config.workspace), told)
    logger.info("prepared data set %s%s", dataset.folder, "" if steps else " (as it was)")
    if config.experiment_design is not None:
        propensity_report.tell(dataset.folder / propensity_report.FOLDER)
    return dataset
