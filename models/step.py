"""What a loss weighting may know of a training step, and of the step that has just been taken."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of a step on this process, detached, for weightings that look at single rows."""

    state: Tensor
    """`(batch, state)` what the network reads: pooled embeddings, then the dense inputs."""
    scores: Tensor
    """`(batch, tasks)` predicted probability of the binary tasks, 0 for others."""
    losses: Tensor
    """`(batch, tasks)`, 0 where not observed."""
    labels: Tensor
    """`(batch, tasks)`, 0 where not observed."""
    observed: Tensor
    """`(batch, tasks)` boolean."""
    weight: Tensor
    """`(batch,)`."""
    session: Tensor
    """`(batch,)` key of the row's session."""
    index: Tensor
    """`(batch,)` the row's place in the training split."""


class Step:
    """A step in progress. Everything is worked out when it is asked for, once."""

    def __init__(
        self,
        losses: Tensor,
        active: Tensor,
        gramian: Callable[[], Tensor],
        rows: Callable[[], Rows],
    ) -> None:
        """`losses` and `active` `(tasks,)` on the network's device; see the properties."""
        self._losses, self._active, self._gramian, self._rows = losses, active, gramian, rows

    @cached_property
    def losses(self) -> Tensor:
        """`(tasks,)` mean loss over the observed rows of the global batch, float64, detached, in
        main memory; 0 for a task that is not active."""
        return self._losses.detach().double().cpu()

    @cached_property
    def active(self) -> Tensor:
        """`(tasks,)` boolean, in main memory: observed somewhere in the global batch."""
        return self._active.cpu()

    @cached_property
    def gramian(self) -> Tensor:
        """`(tasks, tasks)` inner products of the task gradients, float64, in main memory, equal on
        all processes. Costs T partial backward passes: see `fulcrum.models.gramians`."""
        return self._gramian().cpu()

    @cached_property
    def rows(self) -> Rows:
        """The rows of this process."""
        return self._rows()


class After(Protocol):
    """What a weighting may ask when the step is done; every process asks the same."""

    @property
    def rate(self) -> float:
        """Learning rate of the next step, as a share of its peak."""

    def again(self) -> Tensor:
        """`(tasks,)` float64: losses of the batch that was just trained on, under the new weights,
        with the dropout masks and whatever else the step drew. Costs a forward pass."""

    def held_out(self, number: int) -> Tensor:
        """`(tasks,)` float64: losses of a batch of the validation split; batches are numbered and
        begin anew after the last. Costs a forward pass."""
