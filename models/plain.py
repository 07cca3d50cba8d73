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

    All tables lie below one another in one, so that all ids of a row are found at once: a graph for
    one row is as slow as it has nodes. An id that leaves its table would find another one's rows.

    Made without weights, in eval mode: `load` brings them.
    """

    starts: Tensor

    def __init__(self, layout: Layout, model: TrunkConfig) -> None:
        super().__init__()
        self.layout, self.copies = layout, model.copies(len(layout.tasks))
        rows = {table.name: table.rows for table in layout.tables}
        self.places: dict[str, list[int]] = {}
        """First row of every copy of a table."""
        end = 0
        for table in dict.fromkeys(i.table for i in (*layout.pooled, *layout.unpooled)):
            self.places[table] = [end + copy * rows[table] for copy in range(self.copies)]
            end += self.copies * rows[table]
        self.tables = nn.Embedding(end, model.embedding_dim, device="meta")
        self.single = [i for i in layout.pooled if isinstance(i, IdInput)]
        starts = torch.tensor([self.places[i.table] for i in self.single], dtype=torch.int64)
        self.register_buffer("starts", starts.t(), persistent=False)
        self.predictor = Predictor(layout, model)
        self.eval()

    def load(
        self, state: Mapping[str, Tensor], tables: torch.dtype = torch.float32
    ) -> "PlainNetwork":
        """Take the weights of `Network.state_dict()`, whole and unsharded, those of tables rounded
        to a type in which they stay; returns itself. Asks for one after the other, so that of a
        mapping that reads them no two tables are in memory beside those that are made of them."""
        weights = {
            key.removeprefix("objective."): state[key]
            for key in state
            if key.startswith("objective.predictor.")
        }
        unpooled = self.layout.sequence_tables
        whole = torch.empty(self.tables.weight.shape, dtype=tables)
        for table, starts in self.places.items():
            kind = "unpooled.embeddings" if table in unpooled else "pooled.embedding_bags"
            for copy, start in enumerate(starts):
                name = table_name(table, copy, self.copies)
                weight = state[f"tables.{kind}.{name}.weight"]
                whole[start : start + len(weight)] = weight
                del weight  # before the next is read
        weights["tables.weight"] = whole
        self.load_state_dict(weights, assign=True)
        return self

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        layout = self.layout
        # The exporter learns from it that there is one length: with one for each input, and sums
        # of them, it works half as long again.
        if any(array.shape[0] != inputs[0].shape[0] for array in inputs):
            raise ValueError("inputs of different lengths")
        arrays = {s.name: x for s, x in zip(layout.inputs, inputs, strict=True)}
        lists: tuple[BagInput | SequenceInput, ...] = (*layout.bags, *layout.sequences)
        present = {i.name: arrays[i.name] != PADDING for i in lists}
        pooled = [
            mean_of_present(self._look_up(i, arrays[i.name]), present[i.name])[:, :, None]
            for i in layout.pooled
            if isinstance(i, BagInput)
        ]
        if self.single:
            ids = _beside([arrays[i.name] for i in self.single])
            pooled.insert(0, self.tables(ids[:, None] + self.starts).float())
        vectors = Vectors(
            pooled=torch.cat(pooled, 2) if pooled else None,
            unpooled={i.name: self._look_up(i, arrays[i.name]) for i in layout.unpooled},
            present=present,
        )
        dense = [arrays[i.name] for i in layout.dense]
        scores = self.predictor(vectors, _beside(dense) if dense else torch.empty(0))
        return scores.unbind(1)

    def _look_up(self, source: IdInput | BagInput | SequenceInput, ids: Tensor) -> Tensor:
        """Ids of any shape to vectors, copies behind the batch dimension."""
        ids = ids.clamp(min=0)
        copies = [self.tables(ids + start).float() for start in self.places[source.table]]
        return torch.stack(copies, 1)


def _beside(columns: list[Tensor]) -> Tensor:
    """n columns `(batch,)` to `(batch, n)`, with no step of its own for each."""
    return torch.cat(columns).unflatten(0, (len(columns), -1)).t()
