"""A whole run, step by step: prepare, train, measure, export, register, draw.

Everything that a run leaves lies in `<workspace>/runs/<run id>`: `config.yaml`, beside it the files
that its parts come from, `checkpoints/`, `bundle/`, `figures/`, `results.json`, `run.log`,
`health.json` for a network with gates, and `segments.csv` where the config names some. A run that
was stopped goes on from there.
"""

import json
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from rich.console import Console

from fulcrum.features.errors import ConfigError
from fulcrum.features.plugins import requirements, sources
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.staging import full_disk
from fulcrum.models.regularisers import NoRegulariserConfig
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.weightings import StaticConfig
from fulcrum.pipelines.calibration.segments import segments
from fulcrum.pipelines.config.load import fingerprint, to_yaml
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console.progress import for_console
from fulcrum.pipelines.console.terminal import LOG, as_text, log_file
from fulcrum.pipelines.designs.reweighting import WeightedDataset
from fulcrum.pipelines.quality.alarms import ALARMS, segment_warnings, warnings
from fulcrum.pipelines.quality.constant import constant
from fulcrum.pipelines.quality.evidence import evidence
from fulcrum.pipelines.quality.experts import Health
from fulcrum.pipelines.quality.metrics import Metrics, measure
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.runs import tables as report
from fulcrum.pipelines.runs.arm_leaks import cautions
from fulcrum.pipelines.runs.figure_files import draw
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import measured_split, publish
from fulcrum.pipelines.tracking import mlflow as tracking
from fulcrum.pipelines.tracking.mlflow import FoundRun, MlflowTracker, start_run
from fulcrum.pipelines.tracking.protocol import SilentTracker, Tracker
from fulcrum.pipelines.training import checkpoint, pretraining
from fulcrum.pipelines.training.launch import launch
from fulcrum.pipelines.training.learning_on.earlier_model import pinned
from fulcrum.pipelines.training.malloc import give_back
from fulcrum.pipelines.training.predict import (
    evaluate,
    examine,
    predict,
    restore_network,
    uncalibrate,
)
from fulcrum.pipelines.training.trainer import FROM, TrainResult, read_result, train
from fulcrum.serving.publishing.store import STORE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to carry a run out; none of it changes what is learned."""

    nproc: int
    """Processes that train together."""
    reference: bool
    """Also train the single-task networks."""
    console: Console
    """Where progress is shown."""
    parent: str | None = None
    """The comparison's run that this one belongs to; such a run is neither exported nor
    registered."""


@dataclass(frozen=True)
class Outcome:
    """What is told at the end."""

    title: str
    tasks: tuple[str, ...]
    metrics: dict[str, Metrics]
    """By model: the run's own first, the constant predictor last."""
    health: Health
    """Of the experts, on the first rows of the split."""
    uncalibrated: Metrics
    """Of the run's scores before they were calibrated; none where they were not."""
    segments: pl.DataFrame
    """Calibration in each of the declared segments, see `pipelines.calibration.segments`; no row
    where none is declared."""
    model: str | None = None
    """`models:/<name>/<version>`."""


@dataclass(frozen=True)
class Look:
    """What a trained network is like on a split."""

    predictions: Predictions
    """As it is served."""
    uncalibrated: Predictions | None
    """The same rows before the scores were calibrated; None where they were not."""
    health: Health
    """Of the experts."""
    segments: pl.DataFrame
    """Calibration in each of the declared ones."""

    @cached_property
    def before(self) -> Metrics:
        """Of the scores before they were calibrated; none where they were not."""
        return {} if self.uncalibrated is None else measure(self.uncalibrated)


def start(config: RunConfig, options: Options) -> Outcome:
    """A new run from its config."""
    config = pinned(config)
    dataset = prepare_dataset(config, options.console)
    uri = config.tracking.uri
    run_id = start_run(uri, config.tracking.experiment, config.name, options.parent)
    folder = Path(config.workspace, "runs", run_id)
    with MlflowTracker(uri, run_id) as tracker:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        for name, text in sources(config).items():
            (folder / name).write_bytes(text)
        logger.info("run %s (%s)", config.name, run_id)
        with _keep_log(folder, tracker, options.nproc):
            _describe(config, dataset, folder, tracker)
            if isinstance(dataset, WeightedDataset):
                _describe_weights(config, dataset, tracker)
            return _carry_out(config, dataset, folder, tracker, options)


def take_up(run: FoundRun, uri: str, options: Options) -> Outcome:
    """Go on with a run, with the config it was started with. Raises ConfigError for another number
    of processes than before: it decides which rows are in a batch."""
    world = _processes(run.folder / "checkpoints")
    if world is not None and world != options.nproc:
        raise ConfigError(
            f"{run.name} was trained with --nproc {world}, which decides the rows of each batch: "
            f"go on with `{_resume(run.id, uri, world)}`"
        )
    config = kept_config(run)
    dataset = prepare_dataset(config, options.console)
    with MlflowTracker(uri, run.id) as tracker, _keep_log(run.folder, tracker, options.nproc):
        return _carry_out(config, dataset, run.folder, tracker, options)


def measure_run(run: FoundRun, split: str, console: Console) -> Outcome:
    """Measure a finished run's best weights on a split. Raises StateError when the prepared data
    are no longer those that it was trained on."""
    config = kept_config(run)
    dataset = prepare_dataset(config, console)
    result = read_result(run.folder / "checkpoints")
    checkpoint.check_data(result.checkpoint, dataset.fingerprint)
    look = _look(config, dataset, result.checkpoint, split)
    models = _by_model(config.name, dataset, look.predictions)
    return _outcome(config, dataset, split, models, look)


def _carry_out(
    config: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    tracker: MlflowTracker,
    options: Options,
) -> Outcome:
    result = _train(config, dataset, folder / "checkpoints", tracker, options)
    for listed in (folder / "checkpoints").rglob(FROM):
        tracker.log_artifact(listed)
    split = measured_split(dataset)
    look = _look(config, dataset, result.checkpoint, split)
    predictions, health = look.predictions, look.health
    models = _by_model(config.name, dataset, predictions)
    _log(tracker, split, models[config.name], result.step)
    _log(tracker, f"uncalibrated/{split}", look.before, result.step)
    model = None
    if options.parent is None:
        give_back()  # the tables are made anew
        model = publish(config, dataset, folder, result, models[config.name], tracker)
    if options.reference:
        models = _with_reference(config, dataset, folder, split, models, options)
        _log(tracker, f"reference/{split}", models["single-task"], result.step)
    results = folder / "results.json"
    results.write_text(json.dumps({"split": split, "metrics": models}, indent=1))
    tracker.log_artifact(results)
    if health.levels:
        experts = folder / "health.json"
        facts = {"split": split, "alarms": ALARMS, "warnings": warnings(health)}
        experts.write_text(json.dumps({**facts, **health.document()}, indent=1))
        tracker.log_artifact(experts)
    if len(look.segments):
        table = folder / "segments.csv"
        look.segments.write_csv(table)
        tracker.log_artifact(table)
    draw(dataset, folder, result, predictions, look.uncalibrated, health, models, tracker)
    return _outcome(config, dataset, split, models, look, model)


PARAMETERS = {"model", "weighting", "experiment_design", "regulariser", "train"}
"""Parts of the config that become the run's parameters."""


@contextmanager
def _keep_log(folder: Path, tracker: MlflowTracker, nproc: int) -> Iterator[None]:
    """Keep the messages of the block with the run, however it ends; a full disk is told as such."""
    path = folder / LOG
    try:
        with log_file(path), full_disk(folder):
            yield
    except KeyboardInterrupt:
        logger.info("stopped; `%s` goes on", _resume(tracker.run_id, tracker.uri, nproc))
        raise
    finally:
        tracker.log_artifact(path)


def _processes(folder: Path) -> int | None:
    """How many wrote the latest checkpoint, be it of a first phase."""
    newest = checkpoint.latest(folder) or checkpoint.latest(folder / pretraining.FOLDER)
    return None if newest is None else checkpoint.read_state(newest)["reader"]["world"]


def _resume(run_id: str, uri: str, nproc: int) -> str:
    """What to type to go on with a run."""
    options = {
        "--nproc": str(nproc) if nproc > 1 else "",
        "--tracking": uri if uri != STORE else "",
    }
    given = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
    return " ".join(["fulcrum train --resume", run_id, *given])


def _train(
    config: RunConfig, dataset: PreparedDataset, folder: Path, tracker: Tracker, options: Options
) -> TrainResult:
    """In this process, or in several that torchrun starts; goes on where `folder` ends."""
    if options.nproc > 1:
        return launch(config, dataset, folder, options.nproc, tracker)
    progress = for_console(options.console)
    return train(config, dataset, folder, tracker=tracker, progress=progress, resume=True)


def _with_reference(
    config: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    split: str,
    models: dict[str, Metrics],
    options: Options,
) -> dict[str, Metrics]:
    """Train one network per task under the same budget, and put its metrics before the constant
    predictor's."""
    logger.info("training the single-task networks to compare with")
    train = config.train.model_copy(update={"from_": None})
    control = config.model_copy(update={"model": single_task(config.model), "train": train} | PLAIN)
    result = _train(control, dataset, folder / "reference", SilentTracker(), options)
    predictions = evaluate(control, dataset, result.checkpoint, split)
    return {
        config.name: models[config.name],
        "single-task": measure(predictions) | evidence(predictions),
        "constant": models["constant"],
    }


PLAIN = {"weighting": StaticConfig(), "regulariser": NoRegulariserConfig()}
"""Of the single-task controls."""


def single_task(model: TrunkConfig) -> SingleTaskConfig:
    """One network per task, each as deep and wide as what a task passes in `model`."""
    names = set(TrunkConfig.model_fields) - {"bottom", "chain"}
    return SingleTaskConfig(**{name: getattr(model, name) for name in names}, hidden=model.path)


def _look(config: RunConfig, dataset: PreparedDataset, checkpoint: Path, split: str) -> Look:
    """Score a split, look at the experts and at segments, and warn of those that are not well."""
    with restore_network(config, dataset, checkpoint) as (model, process):
        predictions = predict(model, dataset, split, process)
        health = examine(model, dataset, split, process)
        uncalibrated = predict(model, dataset, split, process) if uncalibrate(model) else None
    calibration = config.train.calibration
    features = () if calibration is None else calibration.segments
    table = segments(dataset, split, predictions, features)
    for warning in (*warnings(health), *segment_warnings(table)):
        logger.warning("%s", warning)
    return Look(predictions, uncalibrated, health, table)


def _by_model(name: str, dataset: PreparedDataset, predictions: Predictions) -> dict[str, Metrics]:
    known = measure(predictions) | evidence(predictions)
    return {name: known, "constant": measure(constant(dataset, predictions))}


def _log(tracker: Tracker, prefix: str, metrics: Metrics, step: int) -> None:
    tracker.log_metrics({f"{prefix}/{k}": v for k, v in metrics.items() if v is not None}, step)


def _describe(
    config: RunConfig, dataset: PreparedDataset, folder: Path, tracker: MlflowTracker
) -> None:
    """What is known before training: config, data, features."""
    tracker.log_tags(
        {
            tracking.FOLDER: folder.resolve(),
            tracking.CONFIG: fingerprint(config),
            tracking.DATA: dataset.fingerprint,
        }
    )
    if config.train.from_ is not None:
        tracker.log_tags({tracking.FROM: config.train.from_})
    if plugins := requirements(config):
        tracker.log_tags({tracking.PLUGINS: ", ".join(plugins)})
    facts = config.model_dump(mode="json", include=PARAMETERS)
    counts = {"features": len(config.features), "tasks": ", ".join(config.tasks)}
    tracker.log_params({**facts, **counts, "split": config.data.split.kind})
    for name in ("config.yaml", *sources(config)):
        tracker.log_artifact(folder / name)
    tracker.log_artifact(dataset.folder / "manifest.json", "data")
    tables = report.splits(dataset.manifest), report.features(dataset.drift)
    tracker.log_text(as_text(*tables, report.advice(dataset.advice)), "data/features.txt")
    manifest = dataset.manifest
    rows = {split: facts.rows for split, facts in manifest.splits.items()}
    tracker.log_dataset(
        config.name, manifest.fingerprint, str(dataset.folder.resolve()), manifest.columns, rows
    )


def _describe_weights(config: RunConfig, dataset: WeightedDataset, tracker: MlflowTracker) -> None:
    """The design of an A/B test: its weights in numbers, words and pictures, and what leaks."""
    report, leaks = dataset.report, cautions(config, dataset)
    for line in leaks:
        logger.warning("%s", line)
    tracker.log_metrics(report.metrics(), 0)
    folder = report.folder.name
    for path in sorted(report.folder.iterdir()):
        tracker.log_artifact(path, folder)
    tracker.log_text("\n".join([*report.sentences, *leaks]), f"{folder}/report.txt")


def _outcome(
    config: RunConfig,
    dataset: PreparedDataset,
    split: str,
    models: dict[str, Metrics],
    look: Look,
    model: str | None = None,
) -> Outcome:
    title = f"{config.name} on the {dataset.rows(split):,} rows of the {split} split"
    tasks = tuple(config.tasks)
    return Outcome(title, tasks, models, look.health, look.before, look.segments, model)
