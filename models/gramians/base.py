"""What every place has in common where the gradients of tasks may be compared.

T  tasks        G_st = g_s · g_t        g_t  gradient of the loss of task t over the global batch

Each process holds its share of the losses, scaled so that their mean over processes is the global
loss. Gradients of parameters, which rows share, are therefore summed over processes before the
product; what belongs to single rows is multiplied first. The result is that of one process with the
whole batch, on every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch import distributed as dist

from fulcrum.features.config import Config
from fulcrum.models.gramians.task_gradients import task_gradients

if TYPE_CHECKING:
    from fulcrum.models.embedding.lookups import Lookups


@dataclass(frozen=True)
class Graph:
    """The forward pass of a batch on this process, to be differentiated."""

    losses: Tensor
    """`(T,)` this process's share."""
    lookups: "Lookups"
    fields: Tensor
    """`(batch, F, D)` what the trunk reads."""
    shared: Sequence[Tensor]
    """Dense parameters below the towers."""
    salt: int
    """Of what is drawn."""


class GramianConfig(Config):
    """A subclass adds `kind` and its own settings."""

    summary: ClassVar[str]
    """One line."""

    every: int = Field(10, ge=1)
    """Steps from one look to the next; the weights stay as they are between."""

    def products(self, graph: Graph) -> Tensor:
        """`(T, T)` float64."""
        raise NotImplementedError


def outer(rows: Tensor) -> Tensor:
    """`(T, n)` to the `(T, T)` products of its rows, float64."""
    rows = rows.double()
    return rows @ rows.T


def mean_over_processes(gradients: Tensor) -> Tensor:
    """Gradients of the global losses from those of this process's shares, in place."""
    if world() > 1:
        dist.all_reduce(gradients)
        gradients /= world()
    return gradients


def dense_products(graph: Graph) -> Tensor:
    """Products of the gradients of the shared dense parameters."""
    rows = torch.cat([g.flatten(1) for g in task_gradients(graph.losses, graph.shared)], 1)
    return outer(mean_over_processes(rows))


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1
