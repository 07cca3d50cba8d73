"""Preparation as a person sees it: a bar on a terminal, a log line for each step elsewhere."""

import logging
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs.reweighting import WeightedDataset, reweight

logger = logging.getLogger(__name__)


def prepare_dataset(config: RunConfig, console: Console) -> PreparedDataset:
    """The prepared data set of a run, a `WeightedDataset` if it has a design of an A/B test; made
    when it is not there yet."""
    workspace = Path(config.workspace)
    columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task("prepare", total=None)
        steps: list[str] = []

        def progress(what: str, count: int, total: int) -> None:
            if what not in steps:
                steps.append(what)
                if not console.is_terminal:
                    logger.info("prepare: %s", what)
            bars.update(bar, description=f"prepare: {what}", completed=count, total=total)

        dataset = prepare(config, workspace, progress)
        if config.experiment_design is not None:
            dataset = reweight(dataset, config.experiment_design, workspace, progress)
    logger.info("prepared data set %s%s", dataset.folder, "" if steps else " (as it was)")
    if isinstance(dataset, WeightedDataset):
        dataset.report.log()
    return dataset
