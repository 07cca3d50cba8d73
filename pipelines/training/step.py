"""How one step runs: copy to the device, exchange ids, forward, backward, update."""

from collections.abc import Iterator
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from fulcrum.features.reading.batch import Batch
from fulcrum.pipelines.training.optimizer import Optimizers
from fulcrum.pipelines.training.processes import Process


class Pipeline(Protocol):
    """What the training loop asks of a pipeline."""

    def progress(self, dataloader_iter: Iterator[Batch]) -> dict[str, Tensor]:
        """One step; what the network gave beside the loss. Raises StopIteration at the end."""

    def detach(self) -> nn.Module:
        """Make the network whole for a use outside the pipeline; the next step takes it back."""


def make_pipeline(
    model: nn.Module, optimizers: Optimizers, process: Process, tables: bool
) -> Pipeline:
    """TorchRec's pipeline overlaps copies and the exchange of ids with the step before. Of one
    process on a CPU there is nothing to overlap, and it fails where the network has no tables: then
    steps run one by one."""
    if tables and (process.world > 1 or process.device.type != "cpu"):
        optimizer = cast(torch.optim.Optimizer, optimizers)
        return OverlappingPipeline(model, optimizer, process.device)
    return PlainPipeline(model, optimizers, process.device)


class OverlappingPipeline(TrainPipelineSparseDist[Batch, dict[str, Tensor]]):
    """TorchRec's pipeline, which may be detached in mid-epoch with several processes, too.

    Batches stay in flight while it is detached, and the ids of the first were exchanged already.
    TorchRec's own `attach` would exchange them again, out of step with the answers of before.
    """

    def attach(self, model: nn.Module | None = None, sparse_dist: bool = True) -> None:
        super().attach(model, sparse_dist=False)


class PlainPipeline:
    """One step after the other."""

    def __init__(self, model: nn.Module, optimizers: Optimizers, device: torch.device) -> None:
        self.model, self.optimizers, self.device = model, optimizers, device

    def progress(self, dataloader_iter: Iterator[Batch]) -> dict[str, Tensor]:
        batch = next(dataloader_iter).to(self.device, non_blocking=True)
        self.optimizers.zero_grad()
        loss, out = self.model(batch)
        loss.backward()
        self.optimizers.step()
        return out

    def detach(self) -> nn.Module:
        return self.model
