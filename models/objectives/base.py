"""What every kind of task shares: how many logits it needs, its loss and its score."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from fulcrum.features.layout import TaskSpec
from fulcrum.models.calibrations import Calibration
from fulcrum.models.calibrations.increasing import IDENTITY, Increasing


class TaskObjective(nn.Module, ABC):
    """Loss and scores of n tasks of one kind, all with the same number of scores, at once."""

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.calibration: Increasing | None = None

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

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Put what is served and measured right from here on, by a calibration for each task. Of a
        network that is trained already: it learns from scores that are not calibrated."""
        maps = [calibration.terms for calibration in calibrations]
        plain = all(terms == IDENTITY for terms in maps)
        self.calibration = None if plain else Increasing(maps)

    def uncalibrate(self) -> None:
        """Leave scores alone from here on."""
        self.calibration = None

    def calibrated(self, links: Tensor) -> Tensor:
        """Links of what is served, `(batch, tasks) -> (batch, tasks)`: as the calibrations say, or
        bit for bit as they are."""
        return links if self.calibration is None else self.calibration(links)
