"""The network that is served: the trained one's mathematics on padded arrays, with Gather only."""

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from fulcrum.features.layout import PADDING, BagInput, IdInput, Layout, SequenceInput
from fulcrum.models.embedding.vectors import Vectors, mean_of_present, table_name
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks import TrunkConfig


class PlainNetwork(nn.Module):
    """`forward(*inputs)`, one array per `layout.inputs`, to one score `(batch,)` per score column.

    ids          int64 `(batch,)`
    bags, sequences   int64 `(batch, max_length)`, padded with `PADDING` behind the last id
    dense        float32 `(batch,)`

    Its tables lie one below the other in one table: exporting a graph, loading it and running it on
    a few rows all take their time by the node, and so one node looks up all single ids.

    Made without weights, in eval mode: `load` brings them.
    """

    def __init__(self, layout: Layout, model: TrunkConfig) -> None:
        super().__init__()
        self.layout, self.copies = layout, model.copies(len(layout.tasks))
        rows = {table.name: table.rows for table in layout.tables}
        names = dict.fromkeys(i.table for i in (*layout.pooled, *layout.unpooled))
        copies = [(table, copy) for table in names for copy in range(self.copies)]
        *starts, end = accumulate((rows[table] for table, _ in copies), initial=0)
        self.starts = dict(zip(copies, starts, strict=True))
        self.tables = nn.Embedding(end, model.embedding_dim, device="meta")
        self.predictor = Predictor(layout, model)
        self.eval()

    def load(self, state: Mapping[str, Tensor]) -> "PlainNetwork":
        """Take the weights of `Network.state_dict()`, whole and unsharded; returns itself."""
        weights = {
            key.removeprefix("objective."): value
            for key, value in state.items()
            if key.startswith("objective.predictor.")
        }
        kinds = {False: "pooled.embedding_bags", True: "unpooled.embeddings"}
        tables = [
            state[f"tables.{kind}.{table_name(table, copy, self.copies)}.weight"]
            for table, copy in self.starts
            for kind in [kinds[table in self.layout.sequence_tables]]
        ]
        weights["tables.weight"] = torch.cat([torch.empty(0, self.tables.embedding_dim), *tables])
        self.load_state_dict(weights, assign=True)
        return self

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        layout = self.layout
        arrays = {s.name: x for s, x in zip(layout.inputs, inputs, strict=True)}
        lists: tuple[BagInput | SequenceInput, ...] = (*layout.bags, *layout.sequences)
        present = {i.name: arrays[i.name] != PADDING for i in lists}
        single = [i for i in layout.pooled if isinstance(i, IdInput)]
        bags = [i for i in layout.pooled if isinstance(i, BagInput)]
        pooled = [
            mean_of_present(self._look_up(arrays[i.name], i), present[i.name])[:, :, None]
            for i in bags
        ]
        if single:
            ids = torch.stack([arrays[i.name] for i in single], 1)
            pooled.insert(0, self._look_up(ids, *single))
        unpooled = {
            i.name: self._look_up(ids[:, None], i)[:, :, 0]
            if isinstance(i, IdInput)
            else self._look_up(ids, i)
            for i in layout.unpooled
            for ids in [arrays[i.name]]
        }
        vectors = Vectors(torch.cat(pooled, 2) if pooled else None, unpooled, present)
        dense = [arrays[i.name] for i in layout.dense]
        numbers = torch.stack(dense, 1) if dense else torch.empty(0)
        return self.predictor(vectors, numbers).unbind(1)

    def _look_up(self, ids: Tensor, *sources: IdInput | BagInput | SequenceInput) -> Tensor:
        """`(batch, n) -> (batch, copies, n, dim)`, of n inputs or of the n places of one list."""
        starts = [[self.starts[i.table, copy] for i in sources] for copy in range(self.copies)]
        return self.tables(ids.clamp(min=0)[:, None] + torch.tensor(starts, device=ids.device))
