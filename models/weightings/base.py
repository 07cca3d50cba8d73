"""What every loss weighting shares: one signature, called once per step."""

from collections.abc import Callable, Collection, Iterator
from typing import ClassVar

from torch import Tensor, nn

from features.config import Config


class WeightingConfig(Config):
    """A subclass adds `method` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum weightings`."""

    def build(self, tasks: tuple[str, ...]) -> "Weighting":
        """Make the weighting for the named tasks."""
        raise NotImplementedError

    def problems(self, tasks: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Path below `weighting` and message of whatever does not fit the tasks."""
        yield from ()


class Weighting(nn.Module):
    """Turns T task losses into T weights; the step is one backward of the weighted sum.

    Weights are detached, finite, float32, equal on all ranks, and sum to T unless the method says
    otherwise. State lives in buffers, so it is checkpointed with the network.
    """

    def forward(self, losses: Tensor, gramian: Callable[[], Tensor]) -> Tensor:
        """Weights `(tasks,)` from detached losses `(tasks,)` of the global batch.

        `gramian` gives the `(tasks, tasks)` inner products of the task gradients at the fields, see
        `models.gramian`; calling it costs T partial backward passes. Called while training alone.
        """
        raise NotImplementedError
