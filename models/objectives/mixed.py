"""Tasks of several kinds side by side, in the order of the layout."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks import TASKS
from fulcrum.models.calibrations import Calibration, NoCalibration
from fulcrum.models.objectives import OBJECTIVES, TaskObjective
from fulcrum.models.objectives.binary import Binary


class Columns(nn.Module):
    """Picks columns `(batch, columns) -> (batch, picked)`; nothing to do when it picks them all in
    order."""

    index: Tensor | None

    def __init__(self, columns: Sequence[int], of: int) -> None:
        super().__init__()
        index = None if list(columns) == list(range(of)) else torch.tensor(columns)
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.index is None else x.index_select(1, self.index)


class TaskGroup(nn.Module):
    """The tasks of one kind and size, with where their labels and logits lie among all tasks'."""

    def __init__(self, objective: TaskObjective, members: list[int], outputs: list[int]) -> None:
        super().__init__()
        self.objective = objective
        self.members = members
        self.columns = _columns(members, outputs)
        self.labels = Columns(members, len(outputs))
        self.logits = Columns(self.columns, sum(outputs))

    def of_members(self, logits: Tensor) -> Tensor:
        """All logits to `(batch, members, outputs)`."""
        return self.logits(logits).unflatten(1, (len(self.members), -1))


class MixedObjective(nn.Module):
    """Losses and scores of T tasks. Tasks of one kind and size are computed together.

    Logits `(batch, sum of outputs)` and scores `(batch, sum of scores)` lie in the order of the
    tasks, so scores are the columns of `Layout.score_columns`. `binary` makes the objective of the
    binary tasks.
    """

    def __init__(
        self, tasks: Sequence[TaskSpec], binary: Callable[[Sequence[TaskSpec]], Binary] = Binary
    ) -> None:
        super().__init__()
        scores = [len(task.classes) or 1 for task in tasks]
        kinds: dict[tuple[str, int], list[int]] = defaultdict(list)
        for t, task in enumerate(tasks):
            kinds[task.kind, scores[t]].append(t)
        make: dict[str, Callable[[Sequence[TaskSpec]], TaskObjective]]
        make = {k: binary if TASKS[k].two_classes else kind for k, kind in OBJECTIVES.items()}
        groups = [
            (make[kind]([tasks[t] for t in members]), members)
            for (kind, _), members in kinds.items()
        ]
        outputs = {t: objective.outputs for objective, members in groups for t in members}
        self.outputs = [outputs[t] for t in range(len(tasks))]
        self.groups = nn.ModuleList(TaskGroup(*group, self.outputs) for group in groups)
        self.by_task = _inverse([group.members for group in self._groups()])
        self.by_output = _inverse([group.columns for group in self._groups()])
        self.by_score = _inverse([_columns(group.members, scores) for group in self._groups()])
        self.is_calibrated = False

    def calibrate(self, calibrations: Mapping[str, Calibration]) -> None:
        """Put scores right by task; see `TaskObjective.calibrate`. Tasks left out stay as they
        are."""
        self.is_calibrated = True
        for g in self._groups():
            tasks = g.objective.tasks
            g.objective.calibrate([calibrations.get(t.name, NoCalibration()) for t in tasks])

    def uncalibrate(self) -> bool:
        """Leave scores alone from here on; whether they were calibrated."""
        was, self.is_calibrated = self.is_calibrated, False
        for g in self._groups():
            g.objective.uncalibrate()
        return was

    def start(self) -> Tensor:
        """Logits `(sum of outputs,)` of a network that knows nothing of the row yet."""
        parts = [group.objective.start().view(1, -1) for group in self._groups()]
        return self.by_output(torch.cat(parts, 1))[0]

    def transfer(self, hidden: Tensor) -> Tensor:
        """What towers tell each other: `(tasks, batch, width)` to the same shape."""
        for group in self._groups():
            hidden = group.objective.transfer(hidden, group.members)
        return hidden

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`(batch, sum of outputs), (batch, tasks) -> (batch, tasks)`."""
        parts = [g.objective.loss(g.of_members(logits), g.labels(labels)) for g in self._groups()]
        return self.by_task(torch.cat(parts, 1))

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As `losses`, of what the scores are measured by; see `TaskObjective.error`."""
        parts = [g.objective.error(g.of_members(logits), g.labels(labels)) for g in self._groups()]
        return self.by_task(torch.cat(parts, 1))

    def follow(self, logits: Tensor, labels: Tensor, observed: Tensor, weight: Tensor) -> None:
        """Let every objective learn from a training batch; see `TaskObjective.follow`."""
        for g in self._groups():
            g.objective.follow(g.of_members(logits), g.labels(labels), g.labels(observed), weight)

    def scores(self, logits: Tensor) -> Tensor:
        """`(batch, sum of outputs) -> (batch, sum of scores)`."""
        parts = [
            group.objective.score(group.of_members(logits)).flatten(1) for group in self._groups()
        ]
        return self.by_score(torch.cat(parts, 1))

    def probabilities(self, logits: Tensor) -> Tensor:
        """`(batch, sum of outputs) -> (batch, tasks)`: the scores of binary tasks, 0 for others."""
        parts = []
        for group in self._groups():
            scores = group.objective.score(group.of_members(logits))
            binary = TASKS[group.objective.tasks[0].kind].two_classes
            parts.append(scores[:, :, 0] if binary else torch.zeros_like(scores[:, :, 0]))
        return self.by_task(torch.cat(parts, 1))

    def _groups(self) -> list[TaskGroup]:
        return cast(list[TaskGroup], list(self.groups))


def _columns(members: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Where the columns of some tasks lie when every task has so many."""
    return [sum(sizes[:t]) + column for t in members for column in range(sizes[t])]


def _inverse(parts: list[list[int]]) -> Columns:
    """Puts columns that were taken out part by part back in their places."""
    order = [column for part in parts for column in part]
    return Columns(sorted(range(len(order)), key=order.__getitem__), len(order))
