"""The embedding tables: TorchRec collections, and the vectors they give per input.

A trunk that shares nothing asks for several copies of every table. Copy c of table `user_id` is
named `user_id@c`; with one copy the name is plain. These modules and no others hold tables, so that
TorchRec shards them and steps their optimizer inside backward.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    JaggedTensor,
    KeyedJaggedTensor,
    KeyedTensor,
    PoolingType,
)
from torchrec.modules.embedding_configs import dtype_to_data_type

from fulcrum.features.layout import BagInput, IdInput, Layout, SequenceInput
from fulcrum.models.embedding.vectors import INITIAL, Vectors, table_name


class Tables(nn.Module):
    """TorchRec collections: one for pooled inputs, one for those that stay one vector per id.

    `dtypes` are of the weights of tables, by name; float32 where it says nothing."""

    def __init__(
        self,
        layout: Layout,
        dim: int,
        copies: int,
        device: torch.device,
        dtypes: Mapping[str, torch.dtype] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.pooled: EmbeddingBagCollection | None = None
        self.unpooled: EmbeddingCollection | None = None
        pooled = [
            EmbeddingBagConfig(
                pooling=PoolingType.MEAN if _has_bag(layout, config) else PoolingType.SUM,
                **config,
            )
            for config in _configs(layout, layout.pooled, dim, copies, dtypes)
        ]
        unpooled = [
            EmbeddingConfig(**config)
            for config in _configs(layout, layout.unpooled, dim, copies, dtypes)
        ]
        if pooled:
            self.pooled = EmbeddingBagCollection(pooled, device=device)
        if unpooled:
            self.unpooled = EmbeddingCollection(unpooled, device=device)

    def forward(
        self, ids: KeyedJaggedTensor, sequences: KeyedJaggedTensor
    ) -> tuple[KeyedTensor | None, dict[str, JaggedTensor] | None]:
        """Keys are the inputs' names, `<input>@<table>@<copy>` with several copies."""
        pooled = self.pooled(ids) if self.pooled is not None else None
        unpooled = self.unpooled(sequences) if self.unpooled is not None else None
        return pooled, unpooled


class Gather(nn.Module):
    """Lays out what the tables give, per copy and in the layout's order."""

    def __init__(self, layout: Layout, copies: int) -> None:
        super().__init__()
        self.lists = {
            i.name: i.max_length for i in layout.unpooled if isinstance(i, BagInput | SequenceInput)
        }
        self.pooled = [input_keys(i, copies) for i in layout.pooled]
        self.unpooled = {i.name: input_keys(i, copies) for i in layout.unpooled}
        self.copies = copies

    def forward(
        self, pooled: KeyedTensor | None, unpooled: dict[str, JaggedTensor] | None
    ) -> Vectors:
        vectors: dict[str, Tensor] = {}
        present: dict[str, Tensor] = {}
        for name, keys in self.unpooled.items():
            assert unpooled is not None
            jagged = [unpooled[key] for key in keys]
            length = self.lists.get(name)
            if length is None:
                vectors[name] = torch.stack([j.values() for j in jagged], 1)
            else:
                vectors[name] = torch.stack([j.to_padded_dense(length) for j in jagged], 1)
                places = torch.arange(length, device=jagged[0].lengths().device)
                present[name] = places < jagged[0].lengths()[:, None]
        return Vectors(self._arrange(pooled), vectors, present)

    def _arrange(self, pooled: KeyedTensor | None) -> Tensor | None:
        if pooled is None:
            return None
        order = [self.pooled[i][c] for c in range(self.copies) for i in range(len(self.pooled))]
        values, keys = pooled.values(), pooled.keys()
        if keys == order:
            return values.unflatten(1, (self.copies, len(self.pooled), -1))
        parts = dict(zip(keys, values.split(values.shape[1] // len(keys), 1), strict=True))
        return torch.stack([parts[key] for key in order], 1).unflatten(1, (self.copies, -1))


def _configs(
    layout: Layout,
    inputs: Sequence[IdInput | BagInput | SequenceInput],
    dim: int,
    copies: int,
    dtypes: Mapping[str, torch.dtype],
) -> list[dict]:
    """Copy-major, tables in the order in which the inputs name them: the order of `Gather`."""
    rows = {table.name: table.rows for table in layout.tables}
    return [
        {
            "name": table_name(table, copy, copies),
            "num_embeddings": rows[table],
            "embedding_dim": dim,
            "feature_names": [i.name for i in inputs if i.table == table],
            "data_type": dtype_to_data_type(dtypes.get(table, torch.float32)),
            "init_fn": partial(nn.init.uniform_, a=-INITIAL, b=INITIAL),
        }
        for copy in range(copies)
        for table in dict.fromkeys(i.table for i in inputs)
    ]


def _has_bag(layout: Layout, config: dict) -> bool:
    return any(bag.name in config["feature_names"] for bag in layout.bags)


def input_keys(source: IdInput | BagInput | SequenceInput, copies: int) -> list[str]:
    """The keys under which the collections give an input's vectors, one for each copy."""
    if copies == 1:
        return [source.name]
    return [f"{source.name}@{table_name(source.table, c, copies)}" for c in range(copies)]
