"""What a weighting may ask for when a step is done: losses under the new weights."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torchrec.distributed.model_parallel import get_unwrapped_module

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.network import Network
from fulcrum.pipelines.training.optimizer import Optimizers
from fulcrum.pipelines.training.processes import Process
from fulcrum.pipelines.training.step import Pipeline

ROWS = 1024
"""Validation rows in a batch, per process."""


class AfterStep:
    """See `fulcrum.models.step.After`. Nothing is read or computed before it is asked for."""

    def __init__(
        self,
        model: nn.Module,
        pipeline: Pipeline,
        optimizers: Optimizers,
        dataset: PreparedDataset,
        process: Process,
    ) -> None:
        self.network = cast(Network, get_unwrapped_module(model))
        self.pipeline, self.optimizers = pipeline, optimizers
        self.dataset, self.process = dataset, process
        self.reader: Reader | None = None
        self.batches: Iterator[Batch] = iter(())

    @property
    def rate(self) -> float:
        return self.optimizers.share(self.optimizers.position)

    @torch.no_grad()
    def again(self) -> Tensor:
        """Outside the pipeline, with the draws of the step: other dropout masks would drown what it
        has done to the losses."""
        self.pipeline.detach()
        objective = self.network.objective
        assert objective.latest is not None
        pooled, unpooled, _ = self.network.inputs(objective.latest[0])
        return objective.latest_losses(pooled, unpooled).double().cpu()

    @torch.no_grad()
    def held_out(self, number: int) -> Tensor:
        if self.reader is None:
            rank, world = self.process.rank, self.process.world
            size = min(ROWS, self.dataset.rows("valid") // world)
            self.reader = Reader(self.dataset, "valid", size * world, rank=rank, world=world)
        if number != self.reader.position or number % len(self.reader) == 0:
            self.reader.position = number
            self.batches = iter(self.reader)
        batch = next(self.batches).to(self.process.device)
        self.pipeline.detach()
        self.network.eval()
        with torch.random.fork_rng():
            losses = self.network.objective.losses(*self.network.inputs(batch)).double().cpu()
        self.network.train()
        return losses
