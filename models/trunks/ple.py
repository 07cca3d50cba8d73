"""PLE: experts of each task apart from the shared ones, level after level. One level of it is CGC.

x  (batch, inputs): all fields side by side        t  a task of T        s  the shared module
E_q^j  experts of module q (a task, or s) at level j of N, which read g_q^{j-1}

    g_t^0 = g_s^0 = x
    g_t^j = softmax(W_t^j g_t^{j-1}) · [E_t^j ; E_s^j]
    g_s^j = softmax(W_s^j g_s^{j-1}) · [E_1^j ; ... ; E_T^j ; E_s^j]           j < N
    z_t = g_t^N
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class PLEConfig(TrunkConfig):
    """Levels of task experts and shared experts."""

    source: ClassVar[str] = (
        "Tang et al., Progressive Layered Extraction, RecSys 2020, equations 2-7"
    )
    summary: ClassVar[str] = (
        "experts of each task beside shared ones, in levels: against the seesaw; one level is CGC"
    )

    architecture: Literal["ple"] = "ple"
    levels: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(
        ((256,), (128,)), min_length=1
    )
    """Hidden units of the experts, level by level; with one level it is CGC."""
    task_experts: int = Field(2, ge=0)
    """Number of experts m_t of each task, on each level."""
    shared_experts: int = Field(2, ge=0)
    """Number of shared experts m_s of each level. Without any, tasks share the fields alone."""
    gate_bias: bool = True
    """The paper's gates have no bias; public code has one."""

    @model_validator(mode="after")
    def _check_experts(self) -> Self:
        if self.task_experts + self.shared_experts == 0:
            raise ValueError("`task_experts` and `shared_experts` are both 0: there is no expert")
        return self

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "PLE":
        return PLE(self, fields, tasks)


def visibility(owner: Tensor, gates: int, shared: int) -> Tensor:
    """M `(gates, experts)`: a task's gate sees its own and the shared experts, the shared module's
    gate sees all. Gates and `owner (experts,)` count modules: the tasks, then the shared one."""
    gate = torch.arange(gates)[:, None]
    return (owner == gate) | (owner == shared) | (gate == shared)


class Extraction(nn.Module):
    """One level: `g (batch, modules, inputs) -> (batch, gates, width)`, the shared module last.

    On the first level one x serves all modules; the last one has no gate of the shared module. A
    gate holds a row for each of the level's experts, so that all gates are one matrix product;
    those out of its sight get weight exactly 0 and no gradient.
    """

    def __init__(self, experts: Experts, visible: Tensor, inputs: int, gate_bias: bool) -> None:
        super().__init__()
        self.fusion = Fusion(experts, Gate(visible, inputs, gate_bias))
        self.gates = len(visible)

    def forward(self, g: Tensor) -> Tensor:
        return self.fusion(g, g[:, : self.gates])

    def diagnostics(self, g: Tensor, outputs: Sequence[str], owners: Sequence[str]) -> Level:
        u = g[:, : self.gates]
        return self.fusion.diagnostics(g, u, outputs=outputs[: self.gates], owners=owners)


class PLE(Trunk):
    """Levels of extraction. Without shared experts nothing reads g_s: its gates are left out, and
    no task's experts reach another task."""

    def __init__(self, config: PLEConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        shared, m_s = len(tasks), config.shared_experts
        owner = [t for t in range(shared) for _ in range(config.task_experts)] + [shared] * m_s
        self.names = (*tasks, SHARED)
        self.owners = tuple(self.names[q] for q in owner)
        self.levels = nn.ModuleList()
        self.width = len(fields) * config.embedding_dim
        for number, hidden in enumerate(config.levels, 1):
            source = [0] * len(owner) if number == 1 else owner
            experts = Experts(source, self.width, hidden, config.dropout)
            last = number == len(config.levels)
            gates = shared if last or m_s == 0 else shared + 1
            visible = visibility(torch.tensor(owner), gates, shared)
            self.levels.append(Extraction(experts, visible, self.width, config.gate_bias))
            self.width = experts.width
        if config.bottom.per_task:
            used = torch.eye(shared, dtype=torch.bool)
            for level in reversed(self.levels):
                assert isinstance(level, Extraction)
                used = level.fusion.restrict(used)

    def forward(self, fields: Tensor) -> Tensor:
        g = fields.flatten(1)[:, None]
        for level in self.levels:
            g = level(g)
        return g

    def diagnostics(self, fields: Tensor) -> list[Level]:
        g = fields.flatten(1)[:, None]
        usage: list[Level] = []
        for level in self.levels:
            assert isinstance(level, Extraction)
            usage.append(level.diagnostics(g, self.names, self.owners))
            g = usage[-1].weights @ usage[-1].experts
        return usage
