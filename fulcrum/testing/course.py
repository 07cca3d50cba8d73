"""A made-up training to put a weighting through: losses, products and rows without a network."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from fulcrum.features.layout import TaskSpec
from fulcrum.models.step import After, Rows, Step
from fulcrum.models.weightings import Setting, Weighting

ROWS, STATE, SESSION, EPOCH = 8, 5, 4, 4


@dataclass(frozen=True)
class Course:
    """A training whose every step is drawn by its own number: the same whenever it is asked for."""

    tasks: tuple[int, ...] = (0, 1, 2)
    """Numbers of the tasks, in their order."""
    absent: frozenset[int] = field(default=frozenset())
    """Numbers of the tasks that are observed nowhere."""
    scale: float = 1.0
    """What the loss of task 0 is multiplied by."""
    seed: int = 0

    def setting(self, steps: int = 20) -> Setting:
        """What a weighting for this course is made for."""
        names = tuple(TaskSpec(name=f"t{t}", kind="binary", rate=0.5) for t in self.tasks)
        return Setting(names, EPOCH, steps, STATE, ROWS * EPOCH, self.seed)

    def without(self, *absent: int) -> "Course":
        """The same course, with tasks observed nowhere."""
        return replace(self, absent=frozenset(absent))

    def step(self, number: int) -> Step:
        """Losses between about 0.1 and 3, gradients of which some are in conflict."""
        scales = self._scales * self.active
        gradients = self._drawn(number, 1, 12) * scales[:, None]
        return Step(
            self.losses(number),
            self.active,
            lambda: gradients @ gradients.T,
            lambda: self.rows(number),
        )

    def after(self, number: int) -> After:
        """What may be asked when step `number` is done."""
        return CourseAfter(self, number)

    @property
    def active(self) -> Tensor:
        return torch.tensor([task not in self.absent for task in self.tasks])

    def losses(self, number: int, look: int = 0) -> Tensor:
        """`(tasks,)` of step `number`; other looks are after the step, or at the validation
        split."""
        return self._drawn(number, 2 + look, 1)[:, 0].exp() * self._scales * self.active

    def rows(self, number: int) -> Rows:
        """Two sessions, each in order."""
        observed = self.active.expand(ROWS, -1)
        state = np.random.default_rng([self.seed, number, 9]).normal(size=(ROWS, STATE))
        labels = (self._drawn(number, 10, ROWS).T > 0).float() * observed
        scores = self._drawn(number, 11, ROWS).T.sigmoid().float()
        losses = binary_cross_entropy(scores, labels, reduction="none") * observed
        place = torch.arange(ROWS)
        return Rows(
            torch.from_numpy(state).float(),
            scores,
            losses,
            labels,
            observed,
            weight=torch.ones(ROWS),
            session=place // SESSION,
            index=place + ROWS * (number % EPOCH),
        )

    @property
    def _scales(self) -> Tensor:
        scales = [self.scale if task == 0 else 1.0 for task in self.tasks]
        return torch.tensor(scales, dtype=torch.float64)

    def _drawn(self, number: int, what: int, size: int) -> Tensor:
        """`(tasks, size)` normal numbers, those of a task not depending on the other tasks."""
        rows = [
            np.random.default_rng([self.seed, number, what, task]).normal(size=size)
            for task in self.tasks
        ]
        return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True)
class CourseAfter:
    """See `fulcrum.models.step.After`."""

    course: Course
    number: int

    @property
    def rate(self) -> float:
        return 0.5

    def again(self) -> Tensor:
        return self.course.losses(self.number, look=1)

    def held_out(self, number: int) -> Tensor:
        """All tasks are observed in the validation split."""
        return self.course.without().losses(number, look=2)


@dataclass
class Again:
    """A step after which the batch has given losses; counts how often they are asked for."""

    losses: Tensor
    rate: float = 1.0
    asked: int = 0

    def again(self) -> Tensor:
        self.asked += 1
        return self.losses

    def held_out(self, number: int) -> Tensor:
        raise AssertionError("asked for validation losses")


def follow(weighting: Weighting, course: Course, numbers: Iterable[int]) -> Tensor:
    """Weights `(steps, ...)` of a stretch of the course."""
    weights = []
    for number in numbers:
        weights.append(weighting(course.step(number)))
        weighting.after_step(course.after(number))
    return torch.stack(weights)


def losses_only(losses: Tensor, active: Tensor | None = None) -> Step:
    """A step of which nothing else may be asked."""

    def refuse() -> Tensor:
        raise AssertionError("a weighting that looks at losses alone asked for gradients")

    def no_rows() -> Rows:
        raise AssertionError("asked for rows")

    return Step(losses, torch.ones(len(losses)) > 0 if active is None else active, refuse, no_rows)
