"""A simulated world as files and as a run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from fulcrum.features.errors import ConfigError
from fulcrum.features.staging import staged
from fulcrum.pipelines.ab.simulation.config import Simulation
from fulcrum.pipelines.ab.simulation.worlds import Progress, Simulated
from fulcrum.pipelines.config.load import to_yaml
from fulcrum.pipelines.tracking.mlflow import MlflowTracker, start_run

CONFIG = "world.yaml"
RUNS = "worlds"
"""The experiment of MLflow that simulations are runs of."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Played:
    """What is told at the end."""

    found: Simulated
    files: list[Path]


def simulate(config: Simulation, output: Path, tracking: str, console: Console) -> Played:
    """Play a world, write its files and log them as a run.

    `output` is replaced if it holds a world. Raises ConfigError for a folder that holds something
    else, ResourceError where files or the run cannot be written, and what the world raises; nothing
    is left behind then.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output: {output} is a file; expected a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / CONFIG).exists():
        raise ConfigError(f"--output: {output} holds something else than a simulated world")
    run = start_run(tracking, RUNS, config.name)
    with MlflowTracker(tracking, run) as tracker:
        tracker.log_params(config.world.model_dump(mode="json"))
        with staged(output, replace=True) as folder:
            with _shown(console) as progress:
                found = config.world.simulate(folder, progress)
            (folder / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        files = sorted(path for path in output.iterdir() if path.name != CONFIG)
        tracker.log_tags({"verdict": " ".join(found.sentences)})
        tracker.log_metrics({name.replace(" ", "_"): v for name, v in found.metrics.items()}, 0)
        for file in [output / CONFIG, *files]:
            if file.suffix in LOGGED:
                tracker.log_artifact(file)
    return Played(found, files)


LOGGED = {".json", ".png", ".yaml"}
"""Logs of rows are too large for the store; they stay in the folder."""


@contextmanager
def _shown(console: Console) -> Iterator[Progress]:
    """A bar on a terminal, a line for each step elsewhere."""
    columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bar(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        shown = bar.add_task("simulate", total=None)
        steps: list[str] = []

        def told(what: str, done: int, of: int) -> None:
            if what not in steps:
                steps.append(what)
                if not console.is_terminal:
                    logger.info("simulate: %s", what)
            bar.update(shown, description=f"simulate: {what}", completed=done, total=of)

        yield told
