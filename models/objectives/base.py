"""What every kind of task shares: how many logits it needs, its loss and its score."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from fulcrum.features.layout import TaskSpec


class TaskObjective(nn.Module, ABC):
    """Loss and scores of n tasks of one kind, all with the same number of scores, at once."""

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @property
    def outputs(self) -> int:
        """Logits that each task needs; there may be more of them than scores."""
        return 1

    @abstractmethod
    def start(self) -> Tensor:
        """Logits `(tasks, outputs)` of a network that knows nothing of the row yet."""

    def transfer(self, hidden: Tensor, members: Sequence[int]) -> Tensor:
        """Let towers tell each other what their hidden layers found; nothing by default.

        `hidden (all tasks, batch, width)` to the same shape; this objective's tasks are those at
        `members`, and only theirs may change."""
        return hidden

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`(batch, tasks, outputs), (batch, tasks) -> (batch, tasks)`, finite for any finite
        logits."""

    def error(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the scores are measured by: `loss` without terms that only guide training."""
        return self.loss(logits, labels)

    def follow(self, logits: Tensor, labels: Tensor, observed: Tensor, weight: Tensor) -> None:
        """Learn from a training batch what no gradient teaches; nothing by default.

        Shapes are those of `loss`, with `observed (batch, tasks)` and `weight (batch,)`."""

    @abstractmethod
    def score(self, logits: Tensor) -> Tensor:
        """`(batch, tasks, outputs) -> (batch, tasks, scores)`: what is served."""
