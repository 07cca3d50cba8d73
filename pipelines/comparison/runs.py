"""The runs of a comparison: ordinary ones below its own, none of them trained twice."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.comparison.contenders import Lineup
from fulcrum.pipelines.comparison.fairness import annealing
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.quality.pulls import Samples, with_pulls
from fulcrum.pipelines.runs.run import Options, start, take_up
from fulcrum.pipelines.tracking.mlflow import (
    CONFIG,
    DATA,
    PARENT,
    FoundRun,
    MlflowTracker,
    find_tagged,
)
from fulcrum.pipelines.training.learning_on.earlier_model import pinned
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import read_result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """By network, one a seed."""

    runs: dict[str, list[FoundRun]]
    samples: dict[str, list[Samples]]
    kept: dict[str, list[annealing.Kept]]
    predictions: Predictions
    """Of one of them."""


def train_all(
    lineup: Lineup,
    datasets: Mapping[str, PreparedDataset],
    seeds: Sequence[int],
    metrics: Mapping[str, Sequence[str]],
    parent: str,
    split: str,
    console: Console,
) -> Trained:
    """Every network with every seed, trained and measured; `metrics` by kind of task."""
    runs: dict[str, list[FoundRun]] = {name: [] for name in lineup.configs}
    samples: dict[str, list[Samples]] = {name: [] for name in lineup.configs}
    kept: dict[str, list[annealing.Kept]] = {name: [] for name in lineup.configs}
    jobs = [(seed, name) for seed in seeds for name in lineup.configs]
    for number, (seed, name) in enumerate(jobs, 1):
        config, began = seeded(lineup.configs[name], seed), time.monotonic()
        run, how = finished(config, datasets[name], parent, console)
        result = read_result(run.folder / "checkpoints")
        predictions = evaluate(config, datasets[name], result.checkpoint, split)
        runs[name].append(run)
        samples[name].append(with_pulls(predictions, metrics))
        kept[name].append(annealing.kept(config.train, datasets[name].rows("train"), result))
        spent = time.monotonic() - began
        logger.info("%d of %d: %s, seed %d, %s, %.0f s", number, len(jobs), name, seed, how, spent)
    return Trained(runs, samples, kept, predictions)


def finished(
    config: RunConfig, dataset: PreparedDataset, parent: str, console: Console
) -> tuple[FoundRun, str]:
    """The finished run of a config, and how it came to be."""
    config = pinned(config)
    uri, options = config.tracking.uri, Options(1, False, console, parent)
    tags = {CONFIG: fingerprint(config), DATA: dataset.fingerprint}
    runs = find_tagged(uri, tags)
    how = "as it was" if runs and runs[0].finished else "resumed" if runs else "trained"
    if how == "trained":
        start(config, options)
    elif how == "resumed":
        take_up(runs[0], uri, options)
    run = find_tagged(uri, tags)[0]
    tracker = MlflowTracker(uri, run.id)
    if tracker.tag(PARENT):  # a run that was trained by itself stays one
        tracker.log_tags({PARENT: parent})
    return run, how


def seeded(config: RunConfig, seed: int) -> RunConfig:
    """With another seed."""
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
