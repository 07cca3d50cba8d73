"""A proxy: gradients at the trunk's fields, summed over the batch, one vector per task."""

from typing import ClassVar, Literal

from torch import Tensor

from fulcrum.models.gramians.base import GramianConfig, Graph, mean_over_processes, outer
from fulcrum.models.gramians.task_gradients import task_gradients


class BatchSumConfig(GramianConfig):
    """Gradients of a shift of the fields that all rows share."""

    summary: ClassVar[str] = "gradients at the fields, summed over rows: a rough proxy"

    kind: Literal["batch_sum"] = "batch_sum"

    def products(self, graph: Graph) -> Tensor:
        (gradients,) = task_gradients(graph.losses, [graph.fields])
        return outer(mean_over_processes(gradients.sum(1).flatten(1)))
