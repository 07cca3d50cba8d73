"""The exact products of the gradients of all tables: every row that a batch touches, gathered."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch import distributed as dist

from fulcrum.models.gramians.base import GramianConfig, Graph, dense_products, outer, world
from fulcrum.models.gramians.task_gradients import task_gradients


class RowsConfig(GramianConfig):
    """Exact gradients of the table rows."""

    summary: ClassVar[str] = "gradients of the table rows, exact: grows with the batch"

    kind: Literal["rows"] = "rows"
    dense: bool = False
    """Also the dense parameters below the towers."""

    def products(self, graph: Graph) -> Tensor:
        products = outer(row_gradients(graph))
        return products + dense_products(graph) if self.dense else products


def row_gradients(graph: Graph) -> Tensor:
    """`(T, live rows · D)` gradients of the global losses."""
    gradients = task_gradients(graph.losses, graph.lookups.vectors)
    tasks = len(graph.losses)
    parts = list(graph.lookups.occurrences(gradients))
    if not parts:
        return graph.fields.new_zeros(tasks, 1)
    keys = torch.cat([part.ids.long() + (part.table << 40) for part in parts])
    values = torch.cat([part.gradients.float() for part in parts])
    if world() > 1:
        keys, values = _gathered(keys), _gathered(values) / world()
    live, place = keys.unique(return_inverse=True)
    summed = values.new_zeros(len(live), values.shape[1]).index_add_(0, place, values)
    return summed.unflatten(1, (tasks, -1)).transpose(0, 1).flatten(1)


def _gathered(rows: Tensor) -> Tensor:
    """The rows of all processes; their numbers may differ."""
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world())]
    dist.all_gather(counts, count)
    longest = max(int(c) for c in counts)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(c)] for part, c in zip(parts, counts, strict=True)])
