"""STEM-Net: tables and experts per task and shared; a task sees all experts and trains its own and
the shared ones.

x_t  (batch, inputs): the fields from task t's tables        x_s  from the shared tables

    h_t = experts of t(x_t)        h_s = shared experts(x_s)
    z_t = softmax(Gate_t(x_t + x_s)) · [h_t ; stop_gradient(h_j), j ≠ t ; h_s]
    z_s = softmax(Gate_s(x_s)) · [h_t, all t ; h_s]

z_t and z_s are the x_t and x_s of the next level; the last level makes no z_s. z_s stops no
gradient, as in the authors' code: with several levels a task reaches other tasks through it.
Departure: no dropout inside the gates.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class StemConfig(TrunkConfig):
    """Tables and experts per task and shared; all forward, task-specific backward."""

    source: ClassVar[str] = "Su et al., STEM, AAAI 2024 (arXiv 2308.13537), and its authors' code"
    summary: ClassVar[str] = (
        "embeddings per task and shared: tasks see each other's experts but never train them"
    )

    architecture: Literal["stem"] = "stem"
    levels: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(
        ((256, 128),), min_length=1
    )
    """Hidden units of each expert, level by level."""
    task_experts: int = Field(1, ge=0)
    """Experts of each task, per level; with 0 tasks differ in their gates alone."""
    shared_experts: int = Field(4, ge=1)
    """Experts on the shared tables, per level."""
    gate: tuple[int, ...] = ()
    """Hidden units of each gate."""
    gate_bias: bool = True
    """Whether the last layer of a gate has a bias."""

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "Stem":
        return Stem(self, fields, tasks)

    def copies(self, tasks: int) -> int:
        return tasks + 1


class Stem(Trunk):
    """Modules lie tasks first, the shared one last: so do table copies, experts and outputs."""

    def __init__(self, config: StemConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        modules = (*tasks, SHARED)
        m = torch.tensor([config.task_experts] * len(tasks) + [config.shared_experts])
        module = torch.arange(len(m)).repeat_interleave(m)
        self.owners = tuple(modules[t] for t in module)
        self.outputs = [modules] * (len(config.levels) - 1) + [tuple(tasks)]
        self.levels = nn.ModuleList()
        self.width = len(fields) * config.embedding_dim
        for hidden, outputs in zip(config.levels, self.outputs, strict=True):
            h = Experts(module.tolist(), self.width, hidden, config.dropout)
            everything = torch.ones(len(outputs), len(module), dtype=torch.bool)
            gate = Gate(everything, self.width, config.gate_bias, config.gate)
            output, shared = torch.arange(len(outputs))[:, None], len(tasks)
            gradient = (module == output) | (module == shared) | (output == shared)
            self.levels.append(Fusion(h, gate, gradient=gradient.float()))
            self.width = h.width

    def forward(self, fields: Tensor) -> Tensor:
        x = self._inputs(fields)
        for level, outputs in zip(self.levels, self.outputs, strict=True):
            x = level(x, gate_input(x, len(outputs)))
        return x

    def diagnostics(self, fields: Tensor) -> list[Level]:
        x = self._inputs(fields)
        usage: list[Level] = []
        for level, outputs in zip(self.levels, self.outputs, strict=True):
            assert isinstance(level, Fusion)
            u = gate_input(x, len(outputs))
            usage.append(level.diagnostics(x, u, outputs=outputs, owners=self.owners))
            x = usage[-1].weights @ usage[-1].experts
        return usage

    def _inputs(self, fields: Tensor) -> Tensor:
        """`(batch, modules · fields, dim) -> (batch, modules, inputs)`."""
        return fields.unflatten(1, (len(self.outputs[-1]) + 1, -1)).flatten(2)


def gate_input(x: Tensor, gates: int) -> Tensor:
    """x_t + x_s for the tasks, then x_s where the shared module has a gate too."""
    task, shared = x[:, :-1] + x[:, -1:], x[:, -1:]
    return task if task.shape[1] == gates else torch.cat([task, shared], 1)
