"""From vectors and numbers to fields: everything a trunk reads, as vectors of one width.

B  rows    C  copies    L  events    A  attributes of a history    D  width    F  fields of one copy

Fields of a copy lie in this order: ids and bags with tables of their own, then ids, bags and
histories (one field per attribute) that share a table, then the dense inputs.
"""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from features.layout import BagInput, IdInput, Layout, SequenceInput
from models.fusion import HIDDEN
from models.layers import StackedLinear
from models.tables import Vectors


def masked_mean(vectors: Tensor, present: Tensor) -> Tensor:
    """`(B, C, L, D), (B, L) -> (B, C, D)`; zero where nothing is present."""
    share = present / present.sum(1, keepdim=True).clamp(min=1)
    return (share[:, None, None] @ vectors).squeeze(2)


class TargetAttention(nn.Module):
    """Weights of past events by how they relate to the candidate: DIN (KDD 2018), equation 3.

    The activation unit is an MLP on the event, the query and their product; q - k, which the paper
    adds, is linear in what the MLP already sees. Departure: weights pass a softmax, for scale; the
    weights of an empty history are all zero.
    """

    HIDDEN_UNITS = 32

    def __init__(self, copies: int, query: int, event: int) -> None:
        super().__init__()
        self.query = StackedLinear(copies, query, self.HIDDEN_UNITS, bias=False)
        self.event = StackedLinear(copies, event + query, self.HIDDEN_UNITS)
        self.score = StackedLinear(copies, self.HIDDEN_UNITS, 1)

    def forward(self, query: Tensor, events: Tensor, present: Tensor) -> Tensor:
        """`(B, C, q), (B, C, L, e), (B, L) -> (B, C, L)`; the first q of e are what the query
        compares with."""
        length = events.shape[2]
        related = events[..., : query.shape[2]] * query[:, :, None]
        seen = torch.cat([events, related], 3).transpose(0, 1).flatten(1, 2)
        unit = self.event(seen).unflatten(1, (-1, length))
        unit = F.relu(unit + self.query(query.transpose(0, 1))[:, :, None])
        score = self.score(unit.flatten(1, 2)).view(unit.shape[:3]).transpose(0, 1)
        score = score.masked_fill(~present[:, None], HIDDEN)
        return score.softmax(-1) * present[:, None]


class History(nn.Module):
    """One history as A fields, one per attribute: `(B, C, A, D)`."""

    def __init__(
        self, sequences: list[SequenceInput], dim: int, copies: int, attention: bool
    ) -> None:
        super().__init__()
        compared = [s for s in sequences if s.query is not None]
        self.attributes = compared + [s for s in sequences if s.query is None]
        self.order = [self.attributes.index(s) for s in sequences]
        self.queries = [s.query for s in compared]
        self.attention = (
            TargetAttention(copies, len(compared) * dim, len(sequences) * dim)
            if attention and compared
            else None
        )

    def forward(self, vectors: Vectors) -> Tensor:
        events = torch.cat([vectors.unpooled[s.name] for s in self.attributes], 3)
        present = vectors.present[self.attributes[0].name]
        if self.attention is None:
            field = masked_mean(events, present)
        else:
            query = torch.cat([vectors.unpooled[q] for q in self.queries if q], 2)
            weights = self.attention(query, events, present)
            field = (weights[:, :, None] @ events).squeeze(2)
        return field.unflatten(2, (len(self.order), -1))[:, :, self.order]


class Fields(nn.Module):
    """`Vectors` and dense inputs `(B, Dn)` to fields `(B, C · F, D)`, copy-major."""

    def __init__(self, layout: Layout, dim: int, copies: int, attention: bool) -> None:
        super().__init__()
        histories: dict[str, list[SequenceInput]] = {}
        for sequence in layout.sequences:
            histories.setdefault(sequence.history, []).append(sequence)
        self.single = [i for i in layout.unpooled if isinstance(i, IdInput | BagInput)]
        self.histories = nn.ModuleList(
            History(sequences, dim, copies, attention) for sequences in histories.values()
        )
        dense = ceil(len(layout.dense) / dim)
        self.dense = StackedLinear(copies, len(layout.dense), dense * dim) if dense else None
        self.dim = dim
        self.count = len(layout.pooled) + len(self.single) + len(layout.sequences) + dense

    def forward(self, vectors: Vectors, dense: Tensor) -> Tensor:
        parts = [] if vectors.pooled is None else [vectors.pooled]
        for source in self.single:
            vector = vectors.unpooled[source.name]
            if isinstance(source, BagInput):
                vector = masked_mean(vector, vectors.present[source.name])
            parts.append(vector[:, :, None])
        parts += [history(vectors) for history in self.histories]
        if self.dense is not None:
            numbers = self.dense(dense[None]).transpose(0, 1)
            parts.append(numbers.unflatten(2, (-1, self.dim)))
        return torch.cat(parts, 2).flatten(1, 2)
