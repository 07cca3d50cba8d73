"""HoME: normalised experts of tasks, of categories of tasks and of all, gates on features and self.

v  (batch, d): all fields side by side        t  a task of category c        s  the shared module
Exp_m  experts of module m: Swish(BN(MLP))    FG_m  its feature gate         SG_m  its self-gate

    level 1, for m in every c and s
        E_m = Exp_m(v ⊙ FG_m(v))
        z_c = softmax(W_c v) · [E_c ; E_s]               + SG_c(v) · E_c
        z_s = softmax(W_s v) · [E_c of all c ; E_s]      + SG_s(v) · E_s

    level 2
        H_t = Exp_t(z_c ⊙ FG_t(z_c))
        H_c = Exp_c(z_c ⊙ FG_c(z_c))
        H_s = Exp_s(z_s ⊙ FG_s(z_s))
        z_t = softmax(W_t [z_c ; z_s]) · [H_t ; H_c ; H_s] + SG_t(z_c ⊙ FG_t(z_c)) · H_t

The paper's equations were not at hand: this is what independent re-implementations agree on. Where
they do not, decided here: hidden layers of an expert are Swish, too; gates of level 1 read v, the
self-gates of level 2 what their experts read; statistics of BN are those of all processes,
with fields per task those of the rows that an expert takes: of one task, or of all that share it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.errors import ConfigError, nearest
from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.layers.feature_gate import FeatureGate
from fulcrum.models.layers.fusion import Experts, Gate, mix
from fulcrum.models.layers.normalised_mlp import Activation, NormalisedMLP
from fulcrum.models.layers.self_gate import SelfGate
from fulcrum.models.layers.task_rows import needs, reached, task_rows
from fulcrum.models.trunks.base import Trunk, TrunkConfig

EVERY_TASK = "every task"
"""The only category where none is declared: no name of a task or category has a blank."""

Hidden = Annotated[tuple[int, ...], Field(min_length=1)]


class HoMEConfig(TrunkConfig):
    """Shared, category and task experts in two levels."""

    source: ClassVar[str] = "Wang et al., HoME, KDD 2025, arXiv 2408.05430"
    summary: ClassVar[str] = (
        "normalised experts per task, per category of tasks and shared: against experts that "
        "collapse, degrade or starve"
    )

    architecture: Literal["home"] = "home"
    categories: dict[str, tuple[str, ...]] = {}
    """Tasks by category, each task in one; where there is none, all tasks are one category."""
    levels: tuple[Hidden, Hidden] = ((256,), (128,))
    """Hidden units of the experts of level 1 and of level 2."""
    shared_experts: int = Field(2, ge=1)
    """Number of shared experts on each level."""
    category_experts: int = Field(2, ge=1)
    """Number of experts of each category on each level."""
    task_experts: int = Field(1, ge=1)
    """Number of experts of each task on level 2."""
    adapters: int = Field(2, ge=1)
    """Number of low-rank adapters n of a feature gate."""
    rank: int = Field(16, ge=1)
    """Rank r of an adapter."""
    activation: Activation = "swish"
    """`relu` brings back, together with `normalise: false`, the collapse that HoME cures."""
    normalise: bool = True
    """Whether an expert's output is batch normalised before its activation."""
    gate_bias: bool = True
    """Whether gates and self-gates have a bias."""

    @property
    def path(self) -> tuple[int, ...]:
        return sum(self.levels, ())

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "HoME":
        for path, message in self._category_problems(tasks):
            raise ConfigError(f"model.{'.'.join(path)}: {message}")
        return HoME(self, fields, tasks)

    def problems(
        self, features: Collection[str], tasks: Collection[str]
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(features, tasks)
        yield from self._category_problems(tasks)

    def _category_problems(self, tasks: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
        first: dict[str, str] = {}
        for category, members in self.categories.items():
            path = ("categories", category)
            if not category.isidentifier():
                yield path, "expected letters, digits and `_`, no digit first"
            elif category == SHARED:
                yield path, f"`{SHARED}` names the shared experts; choose another name"
            elif category in tasks:
                yield path, f"a task is called `{category}`, too; choose another name"
            if not members:
                yield path, "holds no task; name its tasks or leave it out"
            for task in members:
                if task not in tasks:
                    yield path, f"there is no task `{task}`{nearest(task, tasks)}"
                elif task in first:
                    also = "twice" if first[task] == category else f"in `{first[task]}`, too"
                    yield path, f"`{task}` is {also}; a task has one category"
                else:
                    first[task] = category
        strays = [task for task in tasks if task not in first]
        if self.categories and strays:
            names = ", ".join(f"`{task}`" for task in strays)
            yield ("categories",), f"no category for {names}; every task needs one"

    def category(self, tasks: Sequence[str]) -> dict[str, str]:
        """Category of each task."""
        if not self.categories:
            return dict.fromkeys(tasks, EVERY_TASK)
        of = {task: name for name, members in self.categories.items() for task in members}
        return {task: of[task] for task in tasks}


def visibility(
    outputs: Sequence[str], owners: Sequence[str], category: Mapping[str, str]
) -> Tensor:
    """M `(outputs, experts)`: a task or category sees its own experts, those of its category and
    the shared ones; the shared module sees all."""
    return torch.tensor(
        [[g == SHARED or e in (g, category.get(g), SHARED) for e in owners] for g in outputs]
    )


def ownership(outputs: Sequence[str], owners: Sequence[str]) -> Tensor:
    """`(outputs, experts)`: whose the experts are."""
    return torch.tensor([[g == e for e in owners] for g in outputs])


class HoMELevel(nn.Module):
    """Experts that read gated inputs, and per output the gated sum of those it sees plus the
    self-gated sum of its own.

    `modules` gives each module's number of experts; the outputs' modules come first.

    v    `(batch, 1 or modules, inputs)` what each module reads, before its feature gate
    u    `(batch, 1 or outputs, gate_inputs)` what the gates read
    own  `(batch, 1 or outputs, inputs)` what the self-gates read; without it what the experts read
    """

    def __init__(
        self,
        config: HoMEConfig,
        modules: Mapping[str, int],
        outputs: Sequence[str],
        inputs: int,
        gate_inputs: int,
        hidden: Sequence[int],
        category: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.outputs, bias = tuple(outputs), config.gate_bias
        self.owners = tuple(m for m, experts in modules.items() for _ in range(experts))
        source = [place for place, experts in enumerate(modules.values()) for _ in range(experts)]
        network = partial(NormalisedMLP, activation=config.activation, normalise=config.normalise)
        self.features = FeatureGate(len(modules), inputs, config.adapters, config.rank)
        self.experts = Experts(source, inputs, hidden, config.dropout, network)
        self.gate = Gate(visibility(outputs, self.owners, category), gate_inputs, bias)
        self.self_gate = SelfGate(ownership(outputs, self.owners), inputs, bias)
        self.width = self.experts.width

    def restrict(self, outputs: Tensor) -> Tensor:
        """As `Fusion.restrict`; what is returned are modules: `(tasks, modules)`."""
        experts, modules = needs(outputs, self.gate.visible, self.experts.source)
        self.features.rows = task_rows(modules, range(modules.shape[1]))
        self.experts.restrict(experts)
        self.gate.restrict(outputs)
        self.self_gate.rows = task_rows(outputs, range(outputs.shape[1]))
        return modules

    def forward(self, v: Tensor, u: Tensor, own: Tensor | None = None) -> Tensor:
        """`(batch, outputs, width)`."""
        usage = self.diagnostics(v, u, own)
        return mix(usage.weights, usage.experts)

    def diagnostics(self, v: Tensor, u: Tensor, own: Tensor | None = None) -> Level:
        """What the level does with a batch."""
        x = v * self.features(v)
        gates = self.gate(u)
        weights = gates + self.self_gate(x[:, : len(self.outputs)] if own is None else own)
        h = self.experts(x)
        visible, used = self.gate.visible, self.gate.used(x.shape[0])
        return Level(weights, gates, h, visible, self.outputs, self.owners, used)


class HoME(Trunk):
    """Level 1 has a module for every category and the shared one, level 2 for every task, too."""

    source: Tensor
    """`(modules of level 2,)` the module of level 1 that each reads."""

    def __init__(self, config: HoMEConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        category = config.category(tasks)
        own = dict.fromkeys(tasks, config.task_experts)
        common = dict.fromkeys(category.values(), config.category_experts)
        common[SHARED] = config.shared_experts
        inputs, (hidden1, hidden2) = len(fields) * config.embedding_dim, config.levels
        self.level1 = HoMELevel(config, common, tuple(common), inputs, inputs, hidden1, category)
        D = self.level1.width
        self.level2 = HoMELevel(config, own | common, tasks, D, 2 * D, hidden2, category)
        self.width, self.tasks = self.level2.width, len(tasks)
        place = {module: place for place, module in enumerate(common)}
        source = [place[category.get(module, module)] for module in own | common]
        self.register_buffer("source", torch.tensor(source), persistent=False)
        if config.bottom.per_task:
            modules = self.level2.restrict(torch.eye(len(tasks), dtype=torch.bool))
            self.level1.restrict(reached(modules, F.one_hot(self.source)))

    def forward(self, fields: Tensor) -> Tensor:
        v = fields.flatten(1)[:, None]
        return self.level2(*self.read(self.level1(v, v, v)))

    def diagnostics(self, fields: Tensor) -> list[Level]:
        v = fields.flatten(1)[:, None]
        usage1 = self.level1.diagnostics(v, v, v)
        return [usage1, self.level2.diagnostics(*self.read(usage1.weights @ usage1.experts))]

    def read(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From `z (batch, modules of level 1, D)` what the modules of level 2 read, and what its
        gates do: [z_c ; z_s]."""
        v = z.index_select(1, self.source)
        z_c, z_s = v[:, : self.tasks], z[:, -1:].expand(-1, self.tasks, -1)
        return v, torch.cat([z_c, z_s], 2)
