"""Does it matter which rows train an arm's model? Every design's model of every arm, side by side.

All are measured on the same held-out rows, weighted to the law of the arm's own rows: what the arm
would show, and what it would earn there. Two models can lose alike and still rank differently, so
their orders of what a unit was shown are compared, too.
"""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from fulcrum.features.declared.arms import UNIT
from fulcrum.features.errors import ConfigError, listed, nearest
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.ab.statistics.rankings import TOP, rankings
from fulcrum.pipelines.ab.statistics.users import Users
from fulcrum.pipelines.comparison.runs import finished
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs import DESIGNS, DesignConfig
from fulcrum.pipelines.designs.reweighting import COLUMN
from fulcrum.pipelines.designs.weighted import WeightedConfig
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.pipelines.tracking.mlflow import MlflowTracker, start_run
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import read_result

Z = 1.96
"""Standard errors to either end of a 95 % interval."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """One task of the model that one design makes of one arm."""

    arm: str
    design: str
    task: str
    loss: float
    """Mean training loss of the held-out rows, weighted to the arm's law."""
    difference: float | None
    """To the model of `weighted`, row by row; None for that one."""
    low: float | None
    high: float | None
    """95 % interval of the difference, over units."""
    kendall: float | None
    """Mean over units of Kendall's tau between the scores of both models; None where a task has
    several scores or no unit has two rows."""
    overlap: float | None
    """Mean over units with more than ten rows of the share of the ten best that both models have in
    common."""


@dataclass(frozen=True)
class DesignStudy:
    """What was found."""

    split: str
    lines: tuple[Line, ...]

    @property
    def sentences(self) -> list[str]:
        """Where a design's model is another one."""
        findings = []
        for design in dict.fromkeys(x.design for x in self.lines if x.difference is not None):
            lines = [x for x in self.lines if x.design == design]
            apart = [
                f"{x.task} of {x.arm} ({x.difference:+.4f}, {x.low:+.4f} to {x.high:+.4f})"
                for x in lines
                if x.low is not None and x.high is not None and (x.low > 0 or x.high < 0)
            ]
            findings.append(
                f"{design}: the held-out loss is not that of weighted training in {listed(apart)}."
                if apart
                else f"{design}: no difference in held-out loss to weighted training shown."
            )
        return findings


def compare_designs(config: RunConfig, others: Sequence[str], console: Console) -> DesignStudy:
    """Train or find the model of every arm under `weighted` and the other designs, and measure them
    on the arm's weighted held-out rows.

    Finished runs of the same config and data are taken as they are. Raises ConfigError for a config
    without `experiment_design: {design: weighted}` and for an unknown design.
    """
    weighted = _check(config, others)
    first = prepare_dataset(config, console)
    split = measured_split(first)
    arms = [name.removeprefix(COLUMN) for name in first.manifest.columns if COLUMN in name]
    uri = config.tracking.uri
    parent = start_run(uri, config.tracking.experiment, f"{config.name}-designs")
    lines: list[Line] = []
    with MlflowTracker(uri, parent) as tracker:
        for arm in arms:
            design_of_arm = weighted.model_copy(update={"arm": arm})
            base, dataset = _trained(_under(config, design_of_arm), parent, split, console)
            lines += _lines(arm, "weighted", base, None, dataset, split)
            for name in others:
                design = DESIGNS[name].model_validate({"arm": arm})
                predictions, _ = _trained(_under(config, design), parent, split, console)
                lines += _lines(arm, name, predictions, base, dataset, split)
        study = DesignStudy(split, tuple(lines))
        tracker.log_text(json.dumps(asdict(study), indent=2), "designs.json")
        tracker.log_tags({"verdict": " ".join(study.sentences)})
    return study


def table(study: DesignStudy) -> Table:
    """A line for each task, arm and design."""
    grid = Table(
        title=f"Models of each arm by design, on the weighted {study.split} split",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("arm", "task", "design"):
        grid.add_column(heading)
    for heading in ("loss", "minus weighted's (95 %)", "Kendall's tau", f"same top {TOP}"):
        grid.add_column(heading, justify="right")
    tasks = list(dict.fromkeys(line.task for line in study.lines))
    for line in sorted(study.lines, key=lambda line: (line.arm, tasks.index(line.task))):
        apart = (
            ""
            if line.low is None
            else f"{line.difference:+.4f} ({line.low:+.4f} to {line.high:+.4f})"
        )
        ranks = ("" if v is None else f"{v:.2f}" for v in (line.kendall, line.overlap))
        grid.add_row(line.arm, line.task, line.design, f"{line.loss:.4f}", apart, *ranks)
    return grid


def _check(config: RunConfig, others: Sequence[str]) -> WeightedConfig:
    weighted = config.experiment_design
    if not isinstance(weighted, WeightedConfig):
        raise ConfigError(
            "experiment_design: expected `design: weighted` with its `propensity`, which other "
            "designs are held against"
        )
    known = [name for name in DESIGNS if name != "weighted"]
    for name in others:
        if name not in known:
            hint = nearest(name, known) or f"; expected some of {', '.join(known)}"
            raise ConfigError(f"--designs: there is no design `{name}`{hint}")
    return weighted


def _under(config: RunConfig, design: DesignConfig) -> RunConfig:
    """The run with another design, named for it."""
    arm = re.sub(r"[^A-Za-z0-9_.+-]", "_", design.arm)
    name = f"{config.name}-{arm}-{design.design}"
    return config.model_copy(update={"experiment_design": design, "name": name})


def _trained(
    config: RunConfig, parent: str, split: str, console: Console
) -> tuple[Predictions, PreparedDataset]:
    dataset = prepare_dataset(config, console)
    run, how = finished(config, dataset, parent, console)
    logger.info("%s: %s", config.name, how)
    checkpoint = read_result(Path(run.folder, "checkpoints")).checkpoint
    return evaluate(config, dataset, checkpoint, split), dataset


def _lines(
    arm: str,
    design: str,
    predictions: Predictions,
    base: Predictions | None,
    dataset: PreparedDataset,
    split: str,
) -> list[Line]:
    """`dataset` is that of `weighted`: its weights are those that all designs are measured with."""
    rows = pl.read_parquet(dataset.shards(split), columns=["row.weight", UNIT], glob=False)
    weight = rows["row.weight"].to_numpy().astype(np.float64)
    _, unit = np.unique(rows[UNIT].to_numpy(), return_inverse=True)
    lines = []
    for task in predictions.layout.tasks:
        counted = weight * predictions.column(f"observed.{task.name}")
        losses = predictions.column(f"loss.{task.name}")
        loss = float((counted * losses).sum() / counted.sum())
        parts: dict[str, float | None] = dict.fromkeys(
            ("difference", "low", "high", "kendall", "overlap")
        )
        if base is not None:
            apart = losses - base.column(f"loss.{task.name}")
            users = Users(np.bincount(unit, counted * apart), np.bincount(unit, counted))
            half = Z * users.se
            parts |= {
                "difference": users.value,
                "low": users.value - half,
                "high": users.value + half,
            }
            if not task.classes:
                ours, theirs = (m.column(f"score.{task.name}") for m in (predictions, base))
                parts["kendall"], parts["overlap"] = rankings(ours, theirs, unit)
        lines.append(Line(arm, design, task.name, loss, **parts))
    return lines
