"""Tasks of several kinds side by side, in the order of the layout."""

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from features.layout import TaskSpec
from models.objectives import OBJECTIVES


class Columns(nn.Module):
    """Picks columns `(batch, columns) -> (batch, picked)`; nothing to do when it picks them all in
    order."""

    index: Tensor | None

    def __init__(self, picked: Sequence[int], of: int) -> None:
        super().__init__()
        index = None if list(picked) == list(range(of)) else torch.tensor(picked)
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.index is None else x.index_select(1, self.index)


class TaskGroup(nn.Module):
    """The tasks of one kind and size, with where their labels and logits lie among all tasks'."""

    def __init__(self, tasks: Sequence[TaskSpec], members: list[int], outputs: list[int]) -> None:
        super().__init__()
        self.objective = OBJECTIVES[tasks[members[0]].kind]([tasks[t] for t in members])
        self.members = members
        self.columns = [sum(outputs[:t]) + o for t in members for o in range(outputs[t])]
        self.labels = Columns(members, len(tasks))
        self.logits = Columns(self.columns, sum(outputs))

    def own(self, logits: Tensor) -> Tensor:
        """All logits to `(batch, members, outputs)`."""
        return self.logits(logits).unflatten(1, (len(self.members), -1))


class MixedObjective(nn.Module):
    """Losses and scores of T tasks. Tasks of one kind and size are computed together.

    Logits `(batch, sum of outputs)` and scores `(batch, sum of outputs)` lie in the order of the
    tasks, so scores are the columns of `Layout.score_columns`.
    """

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.outputs = [OBJECTIVES[task.kind].outputs(task) for task in tasks]
        kinds: dict[tuple[str, int], list[int]] = defaultdict(list)
        for t, task in enumerate(tasks):
            kinds[task.kind, self.outputs[t]].append(t)
        self.groups = nn.ModuleList(
            TaskGroup(tasks, members, self.outputs) for members in kinds.values()
        )
        self.by_task = _inverse([group.members for group in self._groups()])
        self.by_score = _inverse([group.columns for group in self._groups()])

    def start(self) -> Tensor:
        """Logits `(sum of outputs,)` of a network that knows nothing of the row yet."""
        parts = [group.objective.start().view(1, -1) for group in self._groups()]
        return self.by_score(torch.cat(parts, 1))[0]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`(batch, sum of outputs), (batch, tasks) -> (batch, tasks)`."""
        parts = [g.objective.loss(g.own(logits), g.labels(labels)) for g in self._groups()]
        return self.by_task(torch.cat(parts, 1))

    def follow(self, logits: Tensor, labels: Tensor, observed: Tensor, weight: Tensor) -> None:
        """Let every objective learn from a training batch; see `TaskObjective.follow`."""
        for g in self._groups():
            g.objective.follow(g.own(logits), g.labels(labels), g.labels(observed), weight)

    def scores(self, logits: Tensor) -> Tensor:
        """`(batch, sum of outputs) -> (batch, sum of outputs)`."""
        parts = [group.objective.score(group.own(logits)).flatten(1) for group in self._groups()]
        return self.by_score(torch.cat(parts, 1))

    def _groups(self) -> list[TaskGroup]:
        return cast(list[TaskGroup], list(self.groups))


def _inverse(parts: list[list[int]]) -> Columns:
    """Puts columns that were taken out part by part back in their places."""
    order = [column for part in parts for column in part]
    return Columns(sorted(range(len(order)), key=order.__getitem__), len(order))
