"""From a trained run to a version of a registered model."""

import logging
from pathlib import Path

import polars as pl
import torch

from fulcrum.features.errors import ConfigError
from fulcrum.features.files.source import scan
from fulcrum.features.plugins import requirements
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.raw.pivot import impressions
from fulcrum.features.transform.uses import row_reads
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.config.load import fingerprint
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.metrics import Metrics
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.rounding import check_rounding
from fulcrum.pipelines.tracking.mlflow import FoundRun, MlflowTracker
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import TrainResult
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing.export import export
from fulcrum.serving.publishing.registry import Registry

logger = logging.getLogger(__name__)

MODEL = "model"
"""Name of the model among those that a run has logged."""
VERSION = "fulcrum.version"
"""Tag of the run: the registered version that it became."""
CANDIDATE, CHAMPION = "candidate", "champion"
"""Aliases: of the newest version, and of the one that serves."""
HELD_OUT_ROWS, EXAMPLE_ROWS = 1024, 3


def publish(
    config: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    result: TrainResult,
    metrics: Metrics,
    tracker: MlflowTracker,
) -> str:
    """Export, check parity, log the bundle as the run's model, and register it.

    The new version gets the alias `candidate`; `promotion` says what makes it champion.
    Gives `models:/<name>/<version>`; a run that has a version keeps it. Raises
    ModelError, and registers nothing, when ONNX Runtime and torch disagree, or when tables of fewer
    bits would move a metric by more than half its interval.

    `metrics` are the run's own, of the measured split.
    """
    if version_path := tracker.tag(VERSION):
        return f"models:/{version_path}"
    bundle = make_bundle(config, dataset, folder, result.checkpoint, metrics)
    registry = Registry(tracker.uri)
    numbers = {f"test/{name}": v for name, v in metrics.items() if v is not None}
    uri = registry.log(bundle, tracker.run_id, MODEL, result.step, numbers)
    name = config.tracking.model or config.name
    version = registry.register(uri, name)
    registry.set_alias(name, CANDIDATE, version)
    tracker.log_tags({VERSION: f"{name}/{version}"})
    return f"models:/{name}/{version}"


def register_run(run: FoundRun, uri: str, alias: str | None) -> tuple[str, int]:
    """The registered version of a finished run, made when there is none yet, with an alias moved
    to it; gives name and version.

    Raises ConfigError when the run has no model yet, and for the alias `champion`, which the gate
    gives.
    """
    if alias == CHAMPION:
        raise ConfigError(
            "--alias champion: what becomes champion passes a gate; expected `--alias candidate`, "
            "then `fulcrum promote`"
        )
    registry, tracker = Registry(uri), MlflowTracker(uri, run.id)
    version_path = tracker.tag(VERSION)
    if version_path is None:
        config = kept_config(run)
        name = config.tracking.model or config.name
        if not tracker.has_model():
            raise ConfigError(
                f"run {run.name} has no model yet: finish it with `fulcrum train --resume {run.id}`"
            )
        version_path = f"{name}/{registry.register(f'runs:/{run.id}/{MODEL}', name)}"
        tracker.log_tags({VERSION: version_path})
    name, _, version = version_path.rpartition("/")
    if alias is not None:
        registry.set_alias(name, alias, int(version))
    return name, int(version)


def make_bundle(
    config: RunConfig,
    dataset: PreparedDataset,
    folder: Path,
    checkpoint: Path,
    metrics: Metrics,
) -> Bundle:
    """The served model in `folder/bundle`, checked against torch on held-out rows."""
    state = dataset.state
    inputs = [source.name for source in state.layout.inputs]
    held_out = pl.scan_parquet(dataset.shards(measured_split(dataset)), glob=False).select(inputs)
    pivot = config.data.pivot
    read = row_reads(state, *([] if pivot is None else [pivot.action]))
    events = scan(config.data.events, "data.events", read, config.data.csv).frame
    events = events if pivot is None else impressions(events, pivot)
    columns = dict.fromkeys([*state.row_columns, *state.keys])
    example = conform(events, state.row_columns, "data.events", state.time).select(list(columns))
    if state.time is not None and state.time.column in state.row_columns:
        # `data.where` may have left out rows that have no plausible time.
        dtype = state.row_columns[state.time.column]
        example = example.filter(microseconds(state.time, dtype).is_not_null())
    rounded = config.serving.tables == "fp16"

    def check(graph: Path) -> None:
        if rounded:
            check_rounding(graph, dataset, measured_split(dataset), metrics)

    return export(
        folder / "bundle",
        state=state,
        model=config.model,
        weights=load_weights(checkpoint),
        config=config.model_dump(mode="json"),
        config_fingerprint=fingerprint(config),
        held_out=held_out.head(HELD_OUT_ROWS).collect(),
        example=example.head(EXAMPLE_ROWS).collect(),
        plugins=requirements(config),
        tables=torch.float16 if rounded else torch.float32,
        calibrations=kept.load(checkpoint),
        check=check,
    )


def measured_split(dataset: PreparedDataset) -> str:
    """The split that a finished run is measured on: test, else validation, else training."""
    return next(split for split in ("test", "valid", "train") if dataset.rows(split))
