"""The processes that train together: one in process, more under torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Process:
    """This process's place among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """The one process that writes files, tracks and reports."""
        return self.rank == 0

    @property
    def local_world(self) -> int:
        """How many of them run on this machine: torchrun says so, else all do."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in the order of ranks, on every rank. Row counts may differ."""
        if self.world == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=self.device))
        sizes = [int(count) for count in counts]
        buffer = torch.zeros((max(sizes), *rows.shape[1:]), dtype=rows.dtype, device=self.device)
        buffer[: len(rows)] = rows
        parts = [torch.empty_like(buffer) for _ in sizes]
        dist.all_gather(parts, buffer)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(
            rows.device
        )

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.world == 1:
            return flag
        votes = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def wait(self) -> None:
        """Until every rank is here."""
        dist.barrier()


@contextmanager
def process_group() -> Iterator[Process]:
    """Join the processes that torchrun started, or make a group of one.

    NCCL on GPUs, gloo on CPUs. A group that exists already is used and left alone.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    is_ours = not dist.is_initialized()
    if is_ours:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if dist.is_torchelastic_launched():
            dist.init_process_group(backend)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), device)
    finally:
        if is_ours:
            dist.destroy_process_group()
