"""Tasks of several kinds side by side, in the order of the layout."""

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from features.layout import TaskSpec
from models.objectives import OBJECTIVES, TaskObjective


class MixedObjective(nn.Module):
    """Losses and scores of T tasks. Tasks of one kind and size are computed together.

    Logits `(batch, sum of outputs)` and scores `(batch, sum of outputs)` lie in the order of the
    tasks, so scores are the columns of `Layout.score_columns`.
    """

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.outputs = tuple(OBJECTIVES[task.kind].outputs(task) for task in tasks)
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for t, task in enumerate(tasks):
            groups[task.kind, self.outputs[t]].append(t)
        self.members = list(groups.values())
        self.objectives = nn.ModuleList(
            OBJECTIVES[kind]([tasks[t] for t in members]) for (kind, _), members in groups.items()
        )
        first = [sum(self.outputs[:t]) for t in range(len(tasks))]
        self.columns = [
            [first[t] + o for t in members for o in range(self.outputs[t])]
            for members in self.members
        ]

    def start(self) -> Tensor:
        """Logits `(sum of outputs,)` of a network that knows nothing of the row yet."""
        parts = [objective.start().flatten()[None] for objective in self._objectives]
        return _arrange(parts, self.columns)[0]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`(batch, sum of outputs), (batch, tasks) -> (batch, tasks)`."""
        parts = [
            objective.loss(self._own(logits, g), _take(labels, self.members[g]))
            for g, objective in enumerate(self._objectives)
        ]
        return _arrange(parts, self.members)

    def scores(self, logits: Tensor) -> Tensor:
        """`(batch, sum of outputs) -> (batch, sum of outputs)`."""
        parts = [
            objective.score(self._own(logits, g)).flatten(1)
            for g, objective in enumerate(self._objectives)
        ]
        return _arrange(parts, self.columns)

    @property
    def _objectives(self) -> list[TaskObjective]:
        return cast(list[TaskObjective], list(self.objectives))

    def _own(self, logits: Tensor, group: int) -> Tensor:
        columns = _take(logits, self.columns[group])
        return columns.unflatten(1, (len(self.members[group]), -1))


def _take(x: Tensor, columns: list[int]) -> Tensor:
    return x if columns == list(range(x.shape[1])) else x[:, columns]


def _arrange(parts: Sequence[Tensor], columns: Sequence[list[int]]) -> Tensor:
    """Put every part's columns where they belong."""
    order = [c for part in columns for c in part]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return _take(torch.cat(list(parts), 1), inverse)
