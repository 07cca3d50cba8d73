"""Scores of a whole split and the health of experts, from a network in training or a checkpoint."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import polars as pl
import torch
from torch import nn
from torchrec.distributed.model_parallel import get_unwrapped_module

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.network import Network
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.pipelines.calibration import kept
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.quality.experts import Health, Tally
from fulcrum.pipelines.quality.prediction_file import Gather, PredictionFile
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.training import checkpoint
from fulcrum.pipelines.training.processes import Process, process_group
from fulcrum.pipelines.training.tables.sharding import distribute, table_dtypes

BATCH_ROWS = 8192
"""Rows per step and process; nothing is learned, so it changes speed alone."""
HEALTH_STEPS, HEALTH_STEP_ROWS = 16, 1024
"""Experts are looked at on the first 16,384 rows of a split: few steps, since each keeps the output
of every expert."""


@contextmanager
def restore_network(
    run: RunConfig, dataset: PreparedDataset, folder: Path
) -> Iterator[tuple[nn.Module, Process]]:
    """The network with the weights of a checkpoint, however many processes wrote it, calibrated as
    it is served."""
    with process_group() as process:
        network = Network(dataset.state.layout, run.model, table_dtypes=table_dtypes(run.train))
        model = distribute(network, run.train, process)
        checkpoint.load_model(folder, model)
        calibrations = kept.load(folder)
        if calibrations is not None:
            _tasks(model).calibrate(calibrations)
            _tasks(model).to(process.device)
        yield model, process


def uncalibrate(model: nn.Module) -> bool:
    """Leave the network's scores alone from here on; whether they were calibrated."""
    return _tasks(model).uncalibrate()


def evaluate(
    run: RunConfig, dataset: PreparedDataset, folder: Path, split: str = "test"
) -> Predictions:
    """Score a split with the weights of a checkpoint, as it is served."""
    with restore_network(run, dataset, folder) as (model, process):
        return predict(model, dataset, split, process)


def predict(
    model: nn.Module, dataset: PreparedDataset, split: str, process: Process
) -> Predictions:
    """Score a split in file order; every process calls it and gets all rows. Leaves the network in
    eval mode."""
    reader = Reader(
        dataset,
        split,
        BATCH_ROWS * process.world,
        rank=process.rank,
        world=process.world,
        pin_memory=process.device.type == "cuda",
    )
    return score(model, dataset, reader, process)


def score(
    model: nn.Module, dataset: PreparedDataset, batches: Iterable[Batch], process: Process
) -> Predictions:
    """Score batches; every process calls it with its own and gets the rows of all, in the order of
    ranks. What each has scored lies in a file on the disk of the data set. Leaves the network in
    eval mode. Raises ResourceError when that disk is full."""
    model.eval()
    gather = _gather(process) if process.world > 1 else None
    file = PredictionFile(dataset.state.layout, dataset.folder, gather)
    with torch.no_grad():
        for batch in batches:
            _, out = model(batch.to(process.device, non_blocking=True))
            of_tasks = (out["scores"], batch.labels, batch.observed)
            of_rows = (batch.weight, batch.group, batch.session)
            parts = (t.cpu().numpy() for t in (*of_tasks, *of_rows, out["row_losses"]))
            file.add(*parts)
    return file.end()


def _gather(process: Process) -> Gather:
    return lambda column: process.gather(torch.tensor(column)).numpy()


def examine(model: nn.Module, dataset: PreparedDataset, split: str, process: Process) -> Health:
    """The health of the experts on the first rows of a split. Leaves the network in eval mode.

    Every process calls it and looks at the same rows, for tables that lie on several are asked by
    all of them: the numbers are the same on every process, and for every number of them.
    """
    network = cast(Network, get_unwrapped_module(model))
    reader = Reader(dataset, split, HEALTH_STEP_ROWS, pin_memory=process.device.type == "cuda")
    model.eval()
    tally, rows = Tally(), 0
    with torch.no_grad(), closing(iter(reader)) as batches:
        for batch in islice(batches, HEALTH_STEPS):
            inputs = network.inputs(batch.to(process.device, non_blocking=True))
            if not tally.add(network.objective.diagnostics(*inputs)):
                break
            rows += len(batch)
    rates = {task.name: task.rate for task in reader.layout.tasks if task.rate is not None}
    return tally.health(rows, rates)


def to_frame(predictions: Predictions, dataset: PreparedDataset, split: str) -> pl.DataFrame:
    """Row keys, labels (null where not observed) and scores, in file order."""
    rows = pl.scan_parquet(dataset.shards(split), glob=False)
    keys = [name for name in rows.collect_schema().names() if name.startswith("row.key.")]
    frame = rows.select(pl.col(k).alias(k.removeprefix("row.key.")) for k in keys).collect()
    column, layout = predictions.column, predictions.layout
    labels = [
        pl.Series(f"label.{name}", column(f"label.{name}")).set(
            pl.Series(~column(f"observed.{name}")), None
        )
        for name in (task.name for task in layout.tasks)
    ]
    scores = [pl.Series(name, column(f"score.{name}")) for name in layout.score_columns]
    return frame.with_columns(*labels, *scores) if keys else pl.DataFrame([*labels, *scores])


def _tasks(model: nn.Module) -> MixedObjective:
    return cast(Network, get_unwrapped_module(model)).objective.predictor.tasks
