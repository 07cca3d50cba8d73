"""What every kind of task shares: how many logits it needs, its loss and its score."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from features.layout import TaskSpec


class TaskObjective(nn.Module, ABC):
    """Loss and score of n tasks of one kind, all with the same number of outputs, at once."""

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @staticmethod
    def outputs(task: TaskSpec) -> int:
        """Logits that a task needs; as many as it has scores."""
        return 1

    @abstractmethod
    def start(self) -> Tensor:
        """Logits `(tasks, outputs)` of a network that knows nothing of the row yet."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`(batch, tasks, outputs), (batch, tasks) -> (batch, tasks)`, finite for any finite
        logits."""

    def follow(self, logits: Tensor, labels: Tensor, observed: Tensor, weight: Tensor) -> None:
        """Learn from a training batch what no gradient teaches; nothing by default.

        Shapes are those of `loss`, with `observed (batch, tasks)` and `weight (batch,)`."""

    @abstractmethod
    def score(self, logits: Tensor) -> Tensor:
        """`(batch, tasks, outputs) -> (batch, tasks, outputs)`: what is served."""
