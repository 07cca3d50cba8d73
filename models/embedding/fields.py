"""From vectors and numbers to fields: everything a trunk reads, as vectors of one width.

B  rows    C  copies    L  events    A  attributes of a history    D  width    F  fields of one copy

Fields of a copy lie in this order: ids and bags with tables of their own, then ids, bags and
histories (one field per attribute) that share a table, then the dense inputs.
"""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.features.layout import BagInput, IdInput, Layout, SequenceInput
from fulcrum.models.embedding.vectors import Vectors, mean_of_present
from fulcrum.models.layers.fusion import HIDDEN
from fulcrum.models.layers.stacked import StackedLinear


class TargetAttention(nn.Module):
    """Weights of past events by how they relate to the candidate: DIN (KDD 2018), equation 3.

    The activation unit is an MLP on the event e, the query q and their product; q - k, which the
    paper adds, is linear in what the MLP already sees. Its first layer is computed as

        W_e e + W_p (q * k) + W_q q = (W_e + W_p diag(q)) e + W_q q

    one small matrix per row instead of a wide input per event. Departure: weights pass a softmax,
    for scale; the weights of an empty history are all zero.
    """

    UNITS = 16

    def __init__(self, copies: int, query: int, event: int) -> None:
        super().__init__()
        bound = (event + 2 * query) ** -0.5
        self.event = nn.Parameter(torch.empty(copies, self.UNITS, event).uniform_(-bound, bound))
        self.product = nn.Parameter(torch.empty(copies, self.UNITS, query).uniform_(-bound, bound))
        self.query = StackedLinear(copies, query, self.UNITS)
        self.score = StackedLinear(copies, self.UNITS, 1, bias=False)

    def forward(self, query: Tensor, events: Tensor, present: Tensor) -> Tensor:
        """`(B, C, q), (B, C, L, e), (B, L) -> (B, C, L)`; the first q of e are what the query is
        compared with."""
        compared = self.product * query[:, :, None]
        weight = self.event + F.pad(compared, (0, events.shape[3] - query.shape[2]))
        bias = self.query(query.transpose(0, 1)).transpose(0, 1)
        unit = F.relu(events @ weight.transpose(2, 3) + bias[:, :, None], inplace=True)
        score = self.score(unit.transpose(0, 1).flatten(1, 2))
        score = score.unflatten(1, present.shape).squeeze(3).transpose(0, 1)
        weights = score.masked_fill(~present[:, None], HIDDEN).softmax(2)
        return weights * present[:, None]


def by_history(layout: Layout) -> list[list[SequenceInput]]:
    """The attributes of every history, those that are compared with a candidate's first."""
    histories: dict[str, list[SequenceInput]] = {}
    for sequence in layout.sequences:
        histories.setdefault(sequence.history, []).append(sequence)
    return [sorted(h, key=lambda s: s.query is None) for h in histories.values()]


def events(attributes: Sequence[SequenceInput], vectors: Vectors) -> tuple[Tensor, Tensor]:
    """The events of a history, attributes side by side: `(B, C, L, A · D)`, and where there is one:
    `(B, L)`."""
    beside = torch.cat([vectors.unpooled[s.name] for s in attributes], 3)
    return beside, vectors.present[attributes[0].name]


class History(nn.Module):
    """One history as A fields `(B, C, A, D)`, one per attribute."""

    def __init__(
        self, attributes: list[SequenceInput], dim: int, copies: int, attention: bool
    ) -> None:
        super().__init__()
        self.attributes = attributes
        self.queries = [s.query for s in attributes if s.query is not None]
        self.attention = (
            TargetAttention(copies, len(self.queries) * dim, len(attributes) * dim)
            if attention and self.queries
            else None
        )

    def forward(self, vectors: Vectors) -> Tensor:
        past, present = events(self.attributes, vectors)
        if self.attention is None:
            field = mean_of_present(past, present)
        else:
            query = torch.cat([vectors.unpooled[q] for q in self.queries], 2)
            weights = self.attention(query, past, present)
            field = (weights[:, :, None] @ past).squeeze(2)
        return field.unflatten(2, (len(self.attributes), -1))


class Fields(nn.Module):
    """`Vectors` and dense inputs `(B, Dn)` to fields `(B, C · F, D)`, copy-major.

    Without `histories` their fields are left out, for a bottom that reads the events itself.
    """

    def __init__(
        self, layout: Layout, dim: int, copies: int, attention: bool, histories: bool = True
    ) -> None:
        super().__init__()
        self.single = [i for i in layout.unpooled if isinstance(i, IdInput | BagInput)]
        attributes = by_history(layout) if histories else []
        self.histories = nn.ModuleList(History(a, dim, copies, attention) for a in attributes)
        dense = ceil(len(layout.dense) / dim)
        self.dense = StackedLinear(copies, len(layout.dense), dense * dim) if dense else None
        self.dim = dim
        inputs = (*layout.pooled, *self.single, *(s for a in attributes for s in a))
        self.names = (*(i.name for i in inputs), *(f"dense.{n}" for n in range(dense)))

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        parts = [] if vectors.pooled is None else [vectors.pooled]
        for source in self.single:
            vector = vectors.unpooled[source.name]
            if isinstance(source, BagInput):
                vector = mean_of_present(vector, vectors.present[source.name])
            parts.append(vector[:, :, None])
        parts += [history(vectors) for history in self.histories]
        if self.dense is not None:
            numbers = self.dense(dense[None]).transpose(0, 1)
            parts.append(numbers.unflatten(2, (-1, self.dim)))
        return torch.cat(parts, 2).flatten(1, 2)
