"""The network that is served: the trained one's mathematics on padded arrays, with Gather only."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fulcrum.features.layout import PADDING, BagInput, IdInput, Layout, SequenceInput
from fulcrum.models.embedding.tables import table_name
from fulcrum.models.embedding.vectors import Vectors, mean_of_present
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks import TrunkConfig


class PlainNetwork(nn.Module):
    """`forward(*inputs)`, one array per `layout.inputs`, to one score `(batch,)` per score column.

    ids          int64 `(batch,)`
    bags, sequences   int64 `(batch, max_length)`, padded with `PADDING` behind the last id
    dense        float32 `(batch,)`

    Made without weights, in eval mode: `load` brings them.
    """

    def __init__(self, layout: Layout, model: TrunkConfig) -> None:
        super().__init__()
        self.layout, self.copies = layout, model.copies(len(layout.tasks))
        rows = {table.name: table.rows for table in layout.tables}
        self.tables = nn.ModuleDict(
            {
                name: nn.Embedding(rows[table], model.embedding_dim, device="meta")
                for table in dict.fromkeys(i.table for i in (*layout.pooled, *layout.unpooled))
                for name in self._names(table)
            }
        )
        self.predictor = Predictor(layout, model)
        self.eval()

    def load(self, state: Mapping[str, Tensor]) -> "PlainNetwork":
        """Take the weights of `Network.state_dict()`, whole and unsharded; returns itself."""
        weights = {
            key.removeprefix("objective."): value
            for key, value in state.items()
            if key.startswith("objective.predictor.")
        }
        for kind, inputs in (
            ("pooled.embedding_bags", self.layout.pooled),
            ("unpooled.embeddings", self.layout.unpooled),
        ):
            for name in {name for i in inputs for name in self._names(i.table)}:
                weights[f"tables.{name}.weight"] = state[f"tables.{kind}.{name}.weight"]
        self.load_state_dict(weights, assign=True)
        return self

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        layout = self.layout
        arrays = {s.name: x for s, x in zip(layout.inputs, inputs, strict=True)}
        lists: tuple[BagInput | SequenceInput, ...] = (*layout.bags, *layout.sequences)
        present = {i.name: arrays[i.name] != PADDING for i in lists}
        pooled = [
            vectors if isinstance(i, IdInput) else mean_of_present(vectors, present[i.name])
            for i in layout.pooled
            for vectors in [self._look_up(i, arrays[i.name])]
        ]
        vectors = Vectors(
            pooled=torch.stack(pooled, 2) if pooled else None,
            unpooled={i.name: self._look_up(i, arrays[i.name]) for i in layout.unpooled},
            present=present,
        )
        dense = [arrays[i.name] for i in layout.dense]
        numbers = torch.stack(dense, 1) if dense else torch.empty(0)
        return self.predictor(vectors, numbers).unbind(1)

    def _look_up(self, source: IdInput | BagInput | SequenceInput, ids: Tensor) -> Tensor:
        """Ids of any shape to vectors, copies behind the batch dimension."""
        ids = ids.clamp(min=0)
        return torch.stack([self.tables[name](ids) for name in self._names(source.table)], 1)

    def _names(self, table: str) -> list[str]:
        return [table_name(table, copy, self.copies) for copy in range(self.copies)]
