"""AdaTT: every task takes from the experts of all tasks, on top of its own.

t  a module: a task, or the one shared by all        m_t  its experts        l  a level of L

    f_t^0  = x
    E_ti^l = e_ti^l(f_t^(l-1))               i = 1..m_t
    G_t^l  = softmax(W_t^l f_t^(l-1))        over the experts of all modules
    f_t^l  = G_t^l · E^l + v_t^l · E_t^l     all experts, plus the module's own
    z_t    = f_t^L

The shared module fuses on all levels but the last, where it only supplies experts. v is learned and
starts uniform in ±1/√m_t; where every module has a single expert it is 1. The weights of an output
thus sum to 1 + sum(v), not to 1, as in the paper.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.fusion import Experts, Fusion, Gate
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class AdaTTConfig(TrunkConfig):
    """Experts per task and, if any, shared ones; gates over all of them plus the task's own."""

    source: ClassVar[str] = "Li et al., AdaTT, KDD 2023 (arXiv 2304.04959), equations 1-11"
    summary: ClassVar[str] = (
        "gates over the experts of all tasks, plus each task's own: transfer from task to task"
    )

    architecture: Literal["adatt"] = "adatt"
    levels: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(
        ((256,), (128,)), min_length=1
    )
    """Hidden units of each expert, level by level."""
    task_experts: int = Field(2, ge=1)
    """Experts m_t of each task, per level."""
    shared_experts: int = Field(1, ge=0)
    """Experts of the shared module, per level; with 0 it is AdaTT-sp."""
    gate_bias: bool = True
    """The paper's gate has no bias; its authors' code has one."""
    residual: bool = True
    """Whether a module's own experts are added to what its gate takes; off for ablation."""

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "AdaTT":
        return AdaTT(self, fields, tasks)


class AdaTT(Trunk):
    """Every gate sees every expert; experts and gates read their own module's f. Modules lie tasks
    first, the shared one last, and so do their experts."""

    def __init__(self, config: AdaTTConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        m = [config.task_experts] * len(tasks)
        modules = tuple(tasks)
        if config.shared_experts:
            m.append(config.shared_experts)
            modules += (SHARED,)
        module = torch.arange(len(m)).repeat_interleave(torch.tensor(m))
        self.owners = tuple(modules[t] for t in module)
        self.outputs = [modules] * (len(config.levels) - 1) + [tuple(tasks)]
        self.levels = nn.ModuleList()
        self.width = len(fields) * config.embedding_dim
        for hidden, outputs in zip(config.levels, self.outputs, strict=True):
            source = module if self.levels else torch.zeros_like(module)
            e = Experts(source.tolist(), self.width, hidden, config.dropout)
            everything = torch.ones(len(outputs), len(module), dtype=torch.bool)
            gate = Gate(everything, self.width, config.gate_bias)
            own = (module == torch.arange(len(outputs))[:, None]).float()
            learned = max(m) > 1
            if learned:
                own *= (2 * torch.rand_like(own) - 1) / own.sum(1, keepdim=True).sqrt()
            native = own if config.residual else None
            fusion = Fusion(e, gate, native, learn_native=learned)
            self.levels.append(fusion)
            self.width = e.width
        if config.bottom.per_task:
            fusion.restrict(torch.eye(len(tasks), dtype=torch.bool))

    def forward(self, fields: Tensor) -> Tensor:
        f = fields.flatten(1)[:, None]
        for level, outputs in zip(self.levels, self.outputs, strict=True):
            f = level(f, f[:, : len(outputs)])
        return f

    def diagnostics(self, fields: Tensor) -> list[Level]:
        f = fields.flatten(1)[:, None]
        usage: list[Level] = []
        for level, outputs in zip(self.levels, self.outputs, strict=True):
            assert isinstance(level, Fusion)
            u = f[:, : len(outputs)]
            usage.append(level.diagnostics(f, u, outputs=outputs, owners=self.owners))
            f = usage[-1].weights @ usage[-1].experts
        return usage
