"""What a weighting learns from whole sessions before the training that it weighs.

The network, as the phase before left it, looks at the sessions and is not changed. A lesson is a
batch of sessions; checkpoints of them lie in `lessons` beside the training's own, so that lessons
go on where they were stopped.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torchrec.distributed.model_parallel import get_unwrapped_module

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.network import Network
from fulcrum.models.weightings import Weighting
from fulcrum.pipelines.config.run import TrainConfig
from fulcrum.pipelines.tracking.protocol import Tracker
from fulcrum.pipelines.training import checkpoint
from fulcrum.pipelines.training.processes import Process

logger = logging.getLogger(__name__)

FOLDER = "lessons"
SECONDS_BETWEEN_LINES = 10.0


def teach(
    weighting: Weighting,
    model: nn.Module,
    dataset: PreparedDataset,
    config: TrainConfig,
    folder: Path,
    process: Process,
    tracker: Tracker,
) -> None:
    """Give a weighting its lessons, or those that are left. Leaves the network in train mode and
    the random generators as they were."""
    if not weighting.config.sessions:
        return
    reader = Reader(
        dataset,
        "train",
        config.batch_size,
        seed=config.seed,
        shuffle=True,
        rank=process.rank,
        world=process.world,
        sessions=True,
    )
    total, folder = weighting.lessons(len(reader)), folder / FOLDER
    newest = checkpoint.latest(folder)
    if newest is not None:
        state = checkpoint.load(newest, _parts(weighting), process)
        reader.load_state_dict(state["reader"])
    if reader.position < total:
        logger.info(
            "%s: %d lessons from sessions", weighting.config.method, total - reader.position
        )
    network = cast(Network, get_unwrapped_module(model))
    network.eval()
    last_line = time.monotonic()
    with torch.random.fork_rng():
        for batch in _batches(reader, total):
            with torch.no_grad():
                inputs = network.inputs(batch.to(process.device, non_blocking=True))
                rows = network.objective.rows(*inputs)
            weighting.learn(rows)
            position, now = reader.position, time.monotonic()
            if position == total:
                weighting.taught()
            if position % len(reader) == 0 or position == total:
                facts = {f"lessons/{name}": v for name, v in weighting.facts().items()}
                tracker.log_metrics(facts, position)
                state = {"reader": reader.state_dict()}
                folder.mkdir(parents=True, exist_ok=True)
                checkpoint.save(folder, position, _parts(weighting), state, process)
                if process.main:
                    checkpoint.prune(folder, {position})
            if now - last_line > SECONDS_BETWEEN_LINES or position == total:
                last_line = now
                numbers = ", ".join(f"{name} {v:.4g}" for name, v in weighting.facts().items())
                logger.info("lesson %d of %d%s", position, total, numbers and f": {numbers}")
    network.train()


def _batches(reader: Reader, total: int) -> Iterator[Batch]:
    """The batches that are left, epoch after epoch."""
    while reader.position < total:
        with closing(iter(reader)) as batches:
            for batch in batches:
                yield batch
                if reader.position == total:
                    return


def _parts(weighting: Weighting) -> dict[str, Any]:
    return {"weighting": weighting.state_dict()}
