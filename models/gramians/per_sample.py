"""A proxy: gradients at the trunk's fields, row by row (MGDA-UB; Sener and Koltun, NeurIPS 2018).

It sees whether two labels agree on single rows, while parameters feel the gradient summed over
rows; conflict-averse methods do little with it.
"""

from typing import ClassVar, Literal

from torch import Tensor
from torch import distributed as dist

from fulcrum.models.gramians.base import GramianConfig, Graph, outer, world
from fulcrum.models.gramians.task_gradients import task_gradients


class PerSampleConfig(GramianConfig):
    """Gradients of each row's own fields."""

    summary: ClassVar[str] = "gradients at the fields, row by row: says little of shared parameters"

    kind: Literal["per_sample"] = "per_sample"

    def products(self, graph: Graph) -> Tensor:
        (gradients,) = task_gradients(graph.losses, [graph.fields])
        products = outer(gradients.flatten(1))
        if world() > 1:
            dist.all_reduce(products)
            products /= world() ** 2
        return products
