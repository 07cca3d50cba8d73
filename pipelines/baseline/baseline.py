"""Boosting on the features of a config beside the config's network, on the same rows.

What it leaves is an MLflow run `<name>-boosting` with the settings, the metrics and the table.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from fulcrum.features.errors import ConfigError, ResourceError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.baseline import boosting
from fulcrum.pipelines.baseline.columns import CATEGORIES, TreeColumns, read_rows
from fulcrum.pipelines.comparison.order import FEW
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console.terminal import as_text
from fulcrum.pipelines.quality.constant import constant
from fulcrum.pipelines.quality.differences import Difference, better
from fulcrum.pipelines.quality.evidence import evidence
from fulcrum.pipelines.quality.metrics import Metrics, measure
from fulcrum.pipelines.quality.prediction_file import PredictionFile
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.quality.pulls import JUDGED, level_of_each, with_pulls
from fulcrum.pipelines.runs import tables
from fulcrum.pipelines.runs.graph_scores import graph_scores
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.pipelines.tracking.mlflow import CONFIG, DATA, MlflowTracker, find_tagged, start_run
from fulcrum.pipelines.training.predict import evaluate
from fulcrum.pipelines.training.trainer import read_result
from fulcrum.serving.publishing.resolve import resolve

logger = logging.getLogger(__name__)

NAME = "boosting"
BYTES = 12
"""Held at once for a number of the largest matrix: as it was read, joined, and cut into bins."""
GIB = 2**30


@dataclass(frozen=True)
class Lead:
    """Of the network over boosting, in the metric that a task is judged by."""

    metric: str
    network: float
    boosting: float
    difference: Difference
    """Above 0 the network is better; intervals hold for all tasks at once."""


@dataclass(frozen=True)
class Baseline:
    """What is told at the end."""

    title: str
    tasks: tuple[str, ...]
    metrics: dict[str, Metrics]
    """By model: the network's first where there is one, the constant predictor last."""
    leads: dict[str, Lead]
    """By task; empty without a network."""


def baseline(config: RunConfig, model: str | None, console: Console) -> Baseline:
    """Fit boosting on the training split, and measure it on the rows that runs are measured on.

    The network is the registered `model`, else the config's newest finished run, if there is one.
    Raises ConfigError without LightGBM and for a model that was made from other data or features,
    ResourceError where the matrix does not fit into memory.
    """
    boosting.lightgbm()
    dataset = prepare_dataset(config, console)
    split = measured_split(dataset)
    graph = None if model is None else _graph(model, config, dataset)
    columns = TreeColumns.of(dataset.state.layout, dataset.state.lookups)
    _check_memory(dataset, split, columns)
    scored = boost_all(dataset, split, columns)
    known = {}
    if graph is not None:
        known[str(model)] = graph_scores(graph, dataset, split)
    elif (found := _newest(config, dataset, split)) is not None:
        known[config.name] = found
    known[NAME] = scored
    metrics = {name: measure(p) | evidence(p) for name, p in known.items()}
    metrics["constant"] = measure(constant(dataset, scored))
    title = f"{config.name} on the {dataset.rows(split):,} rows of the {split} split"
    leads = _leads(*known.values()) if len(known) > 1 else {}
    told = Baseline(title, tuple(config.tasks), metrics, leads)
    _keep(config, split, told)
    return told


def sentences(told: Baseline) -> list[str]:
    """Who is better on which task, and by how much."""
    if not told.leads:
        return [
            "no finished run of this config on these data to compare with: `fulcrum train` it, or "
            "name a registered model by --model"
        ]
    network, measured = next(iter(told.metrics.items()))
    lines = []
    for task, lead in told.leads.items():
        heading, form = tables.COLUMNS[lead.metric]
        gap = lead.difference
        who = f"{network} beats boosting" if gap.value > 0 else f"{network} falls short of boosting"
        if not gap.clear:
            who = f"{network} and boosting cannot be told apart"
        positives = measured.get(f"positives/{task}")
        if positives is not None and positives < FEW:
            who = f"{positives:.0f} positive rows are too few to tell {network} and boosting apart"
        signed = form.replace("{:", "{:+")
        ends = ""
        if gap.low is not None and gap.high is not None:
            ends = f" ({signed.format(gap.low)} to {signed.format(gap.high)})"
        lines.append(
            f"{task}: {who}: {heading} {form.format(lead.network)} against "
            f"{form.format(lead.boosting)}, {signed.format(gap.value)}{ends}, above 0 is better"
        )
    return lines


def boost_all(dataset: PreparedDataset, split: str, columns: TreeColumns) -> Predictions:
    """A model for each task, and its scores of the split."""
    layout = dataset.state.layout
    train, test = read_rows(dataset, "train", columns), read_rows(dataset, split, columns)
    valid = read_rows(dataset, "valid", columns) if dataset.rows("valid") else None
    scores = []
    for place, task in enumerate(layout.tasks):
        scores.append(boosting.boost(task, place, train, valid, test))
        logger.info("%d of %d tasks", place + 1, len(layout.tasks))
    of_rows = (test.weight, test.group, test.session)
    file = PredictionFile(layout, dataset.folder)
    file.add(np.concatenate(scores, 1), test.labels, test.observed, *of_rows)
    return file.end()


def _graph(model: str, config: RunConfig, dataset: PreparedDataset) -> Path:
    bundle = resolve(model, config.tracking.uri).bundle
    if bundle.state.fingerprint != dataset.fingerprint:
        raise ConfigError(
            f"{model} was made from other data or features (fingerprint "
            f"{bundle.state.fingerprint}) than this config has now ({dataset.fingerprint}); its "
            "inputs are not these rows'. Expected a model of this config and these files"
        )
    return bundle.graph


def _newest(config: RunConfig, dataset: PreparedDataset, split: str) -> Predictions | None:
    """What the newest finished run of the config says."""
    tags = {CONFIG: fingerprint(config), DATA: dataset.fingerprint}
    runs = [run for run in find_tagged(config.tracking.uri, tags) if run.finished]
    if not runs:
        return None
    logger.info("comparing with run %s (%s)", runs[0].name, runs[0].id)
    checkpoint = read_result(runs[0].folder / "checkpoints").checkpoint
    return evaluate(config, dataset, checkpoint, split)


def _leads(network: Predictions, boosted: Predictions) -> dict[str, Lead]:
    ours, theirs = (with_pulls(p, JUDGED) for p in (network, boosted))
    leads = {}
    for key, values in ours.items():
        gap = Difference.of(better(values, theirs[key], key[1]), level_of_each(len(ours)))
        leads[key[0]] = Lead(key[1], float(values[0]), float(theirs[key][0]), gap)
    return leads


def _check_memory(dataset: PreparedDataset, split: str, columns: TreeColumns) -> None:
    rows = sum(dataset.rows(name) for name in {"train", "valid", split})
    needed, free = BYTES * rows * len(columns), psutil.virtual_memory().available
    if needed > free:
        raise ResourceError(
            f"boosting holds all rows at once: {rows:,} rows of {len(columns)} columns take about "
            f"{needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free; expected fewer rows, for "
            "example by --set data.where=..., or more memory"
        )


def _keep(config: RunConfig, split: str, told: Baseline) -> None:
    uri = config.tracking.uri
    run = start_run(uri, config.tracking.experiment, f"{config.name}-{NAME}")
    settings = {
        "rate": boosting.RATE,
        "rounds": boosting.ROUNDS,
        "patience": boosting.PATIENCE,
        "seed": boosting.SEED,
        "categories": CATEGORIES,
    }
    metrics = {f"{split}/{k}": v for k, v in told.metrics[NAME].items() if v is not None}
    table = as_text(tables.results(told.title, told.tasks, told.metrics), *sentences(told))
    with MlflowTracker(uri, run) as tracker:
        tracker.log_params({"boosting": settings, "split": split})
        tracker.log_metrics(metrics, 0)
        tracker.log_text(table, "baseline.txt")
        results = {"split": split, "metrics": told.metrics}
        tracker.log_text(json.dumps(results, indent=1), "results.json")
