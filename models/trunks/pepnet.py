"""PEPNet: who watches what, and where, decides how much each unit counts.

e  (batch, F · D): all fields side by side            p, q  those named `domain` and `prior`
H_t^(l)  hidden layer l of task t                     sg  stop-gradient        ⊙  element by element

    δ_ep      = GateNU_ep([p ; sg(e)])                                (3)
    o         = δ_ep ⊙ e                                              (4)
    [δ_1 ... δ_T]^(l) = GateNU_pp^(l)([q ; sg(o)])                    (6), (7)
    H_t^(1)   = f(o W_t^(0) + b_t^(0))
    O_t^(l)   = δ_t^(l) ⊙ H_t^(l)                                     (8)
    H_t^(l+1) = f(O_t^(l) W_t^(l) + b_t^(l))                          (9)
    z_t       = O_t^(L)
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.errors import ConfigError, nearest
from fulcrum.models.layers.expert_usage import Level
from fulcrum.models.layers.gate_nu import GateNU
from fulcrum.models.layers.stacked import StackedLinear
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class PEPNetConfig(TrunkConfig):
    """A network per task on gated embeddings, its hidden units gated by personal priors."""

    source: ClassVar[str] = "Chang et al., PEPNet, KDD 2023, equations 2-9"
    summary: ClassVar[str] = (
        "gates on embeddings by domain and on each task's hidden units by user and item"
    )

    architecture: Literal["pepnet"] = "pepnet"
    domain: tuple[str, ...] = ()
    """Features that tell the domain (a tab, a page); they gate all embeddings. None: no EPNet."""
    prior: tuple[str, ...] = ()
    """Features that tell user, item and author; they gate the hidden units. None: the gates read
    the other embeddings alone."""
    hidden: tuple[int, ...] = Field((256, 128), min_length=1)
    """Hidden units of each task's network; every layer is gated."""
    gate_hidden: int = Field(64, ge=1)
    """Hidden units of each gate's own network."""

    @property
    def path(self) -> tuple[int, ...]:
        return self.hidden

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "PEPNet":
        return PEPNet(self, fields, tasks)

    def problems(
        self, features: Collection[str], tasks: Collection[str]
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(features, tasks)
        for setting, names in (("domain", self.domain), ("prior", self.prior)):
            for name in names:
                if name not in features:
                    yield (setting,), f"no feature `{name}`{nearest(name, features)}"


class PEPNet(Trunk):
    """T networks side by side, one gate for the embeddings, one gate a layer.

    Stop-gradient keeps the gates from moving embeddings through [; sg(...)]: those are trained by
    the product alone, while p and q are trained by the gates, too. Decisions where the paper leaves
    room: p and q are fields of e, from the same tables; o itself is gated by EPNet alone, and PPNet
    gates hidden units. Departure: hidden layers of `tower`, if there are any, follow the last gate
    and have none of their own.
    """

    def __init__(self, config: PEPNetConfig, fields: Sequence[str], tasks: Sequence[str]) -> None:
        super().__init__()
        self.domain = _places("domain", config.domain, fields)
        self.prior = _places("prior", config.prior, fields)
        dim, inputs = config.embedding_dim, len(fields) * config.embedding_dim
        self.epnet = (
            GateNU(len(self.domain) * dim + inputs, config.gate_hidden, 1, inputs)
            if self.domain
            else None
        )
        self.ppnet = nn.ModuleList(
            GateNU(len(self.prior) * dim + inputs, config.gate_hidden, len(tasks), width)
            for width in config.hidden
        )
        self.layers = nn.ModuleList(
            StackedLinear(len(tasks), i, o) for i, o in pairwise((inputs, *config.hidden))
        )
        self.dropout = nn.Dropout(config.dropout)
        self.width, self.tasks = config.hidden[-1], len(tasks)

    def embed(self, fields: Tensor) -> Tensor:
        """EPNet's o: `(batch, F, D) -> (batch, F · D)`."""
        e = fields.flatten(1)
        if self.epnet is None:
            return e
        p = (fields[:, place] for place in self.domain)
        return self.epnet(torch.cat([*p, e.detach()], 1)[None])[0] * e

    def forward(self, fields: Tensor) -> Tensor:
        return self._pass(fields, 1)

    def per_task(self, fields: Tensor) -> Tensor:
        return self._pass(fields, self.tasks)

    def _pass(self, fields: Tensor, sources: int) -> Tensor:
        """On fields that all networks read, or each its own: rows of one source follow another's.
        `(sources · batch, F, D) -> (batch, T, width)`."""
        o = self.embed(fields)
        q = (fields[:, place] for place in self.prior)
        u, h = (x.unflatten(0, (sources, -1)) for x in (torch.cat([*q, o.detach()], 1), o))
        for layer, gate in zip(self.layers, self.ppnet, strict=True):
            h = gate(u) * self.dropout(F.relu(layer(h)))
        return h.transpose(0, 1)

    def diagnostics(self, fields: Tensor) -> list[Level]:
        return []


def _places(setting: str, names: Sequence[str], fields: Sequence[str]) -> list[int]:
    """Where the named fields lie."""
    for name in names:
        if name not in fields:
            raise ConfigError(
                f"model.{setting}: `{name}` is none of the fields, {', '.join(fields)}"
                f"{nearest(name, fields)}"
            )
    return [fields.index(name) for name in names]
