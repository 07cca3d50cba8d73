"""What every chain shares: the objective of the binary tasks, of which some are `given` others."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fulcrum.features.config import Config
from fulcrum.features.errors import ConfigError
from fulcrum.features.layout import TaskSpec
from fulcrum.models.calibrations import Calibration
from fulcrum.models.objectives.binary import Binary


class ChainConfig(Config):
    """A subclass adds `kind` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum models`."""

    def build(self, tasks: Sequence[TaskSpec], width: int, dropout: float) -> "Chain":
        """Make the objective of the binary tasks, whose towers' hidden layers end in `width`
        units.

        Raises ConfigError for a `given` that is not among the tasks, or a circle.
        """
        raise NotImplementedError


class Chain(Binary):
    """Binary tasks in trees: a task has one parent at most, and any number of children."""

    upper: Tensor
    """`(tasks,)` position of each task's parent, or its own where it has none."""
    chained: Tensor
    """`(tasks,)` boolean: has a parent."""

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__(tasks)
        self.parents = parents(self.tasks)
        self.caps = 0
        """How often a cap is handed down from parents to children."""
        upper = [t if parent is None else parent for t, parent in enumerate(self.parents)]
        chained = [parent is not None for parent in self.parents]
        self.register_buffer("upper", torch.tensor(upper), persistent=False)
        self.register_buffer("chained", torch.tensor(chained), persistent=False)

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """From here on no task is scored above its parent, whatever the calibrations and the chain:
        P(buy) <= P(click)."""
        super().calibrate(calibrations)
        self.caps = max(depth(t, self.parents) for t in range(len(self.parents)))

    def uncalibrate(self) -> None:
        super().uncalibrate()
        self.caps = 0

    def calibrated(self, links: Tensor) -> Tensor:
        """Each task's own map of the probability of the whole chain, then the cap.

        To calibrate the factors of a product instead would keep the chain without a cap, but change
        the order of the rows; the cap changes it only among rows that reach it.
        """
        links = super().calibrated(links)
        for _ in range(self.caps):
            links = links.minimum(links.index_select(1, self.upper))
        return links


def parents(tasks: Sequence[TaskSpec]) -> list[int | None]:
    """Position of the task that each one is conditional on.

    Raises ConfigError for a `given` that is not among the binary tasks, or a circle.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        if task.given is not None and task.given not in names:
            raise ConfigError(
                f"tasks.{task.name}.given: {task.given!r} is not a binary task; "
                f"the binary tasks are {', '.join(names)}"
            )
    parents = [None if task.given is None else names.index(task.given) for task in tasks]
    for task, parent in zip(tasks, parents, strict=True):
        if parent is not None and depth(parent, parents) == len(tasks):
            raise ConfigError(f"tasks.{task.name}.given: the chain of tasks is a circle")
    return parents


def depth(t: int, parents: Sequence[int | None]) -> int:
    """How many tasks t is conditional on; as many as there are tasks in a circle."""
    length, parent = 0, parents[t]
    while parent is not None and length < len(parents):
        length, parent = length + 1, parents[parent]
    return length
