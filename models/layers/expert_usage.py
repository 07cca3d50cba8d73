"""What a trunk tells about a batch: who used which expert, and how much."""

from typing import NamedTuple

from torch import Tensor

SHARED = "shared"
"""Owner of the experts and outputs that belong to all tasks."""


class Level(NamedTuple):
    """One level of fusion: G outputs made of E experts of width D, for B rows."""

    weights: Tensor
    """`(B, G, E)` all that multiplies an expert: gate, native weight, self-gate."""
    gates: Tensor | None
    """`(B, G, E)` the softmax part of it, each row summing to 1; None without gates."""
    experts: Tensor
    """`(B, E, D)` what the experts gave."""
    visible: Tensor
    """`(G, E)` boolean: which experts an output may use."""
    outputs: tuple[str, ...]
    """G owners: a task, a category of tasks, or `SHARED`."""
    owners: tuple[str, ...]
    """E owners of the experts, likewise."""
    used: Tensor | None = None
    """`(B, G)` boolean: rows where an output goes on to anything; None for all."""
