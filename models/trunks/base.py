"""What every trunk shares: its signature and the settings of the network around it."""

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fulcrum.features.config import Config
from fulcrum.models.bottoms import BottomChoice, NoBottomConfig
from fulcrum.models.chains import ChainChoice, ESMMConfig
from fulcrum.models.interactions import InteractionChoice, NoInteractionConfig
from fulcrum.models.layers.expert_usage import SHARED, Level
from fulcrum.models.part import Part


class TrunkConfig(Config):
    """Settings that every architecture has. A subclass adds `architecture` and its own."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum models`."""

    embedding_dim: int = Field(16, ge=1)
    """Width D of every field."""
    history: Literal["attention", "mean"] = "attention"
    """How a history becomes a field: target attention (DIN, 2018) or the mean."""
    bottom: BottomChoice = NoBottomConfig()
    """How embeddings become the fields that the trunk reads: the same for all tasks, or per
    task."""
    interaction: InteractionChoice = NoInteractionConfig()
    """How fields meet each other before the trunk."""
    chain: ChainChoice = ESMMConfig()
    """How a binary task depends on the one that it is `given`."""
    tower: tuple[int, ...] = (64,)
    """Hidden units of each task's tower."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout after each hidden layer of experts and towers."""

    @property
    def path(self) -> tuple[int, ...]:
        """Hidden units of the layers that one task passes: those of its single-task control."""
        raise NotImplementedError

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> "Trunk":
        """Make the trunk for the named fields (F of them) and tasks (T).

        Raises ConfigError for settings that name a field or a task which is not there.
        """
        raise NotImplementedError

    def copies(self, tasks: int) -> int:
        """Independent copies of every embedding table that this trunk asks for."""
        return 1

    def problems(
        self, features: Collection[str], tasks: Collection[str]
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        """Path below `model` and message of whatever does not fit the features, the tasks or the
        other settings."""
        if SHARED in tasks:
            # The health of experts is told by owner. Trunks that have none of all tasks refuse it,
            # too: a comparison gives every trunk the same tasks.
            message = f"a task is called `{SHARED}`, which names what all tasks share; rename it"
            yield (), message
        if self.bottom.per_task and self.copies(2) > 1:
            yield (
                ("bottom",),
                "makes fields per task from one copy of the tables, and this architecture asks "
                "for several; expected `none`",
            )


class Trunk(Part):
    """`forward(fields (batch, copies · F, embedding_dim)) -> (batch, T, width)`.

    Copies lie one after another on the field axis: `fields.unflatten(1, (copies, F))`.
    """

    width: int
    """Width H of each task's representation."""

    def per_task(self, fields: Tensor) -> Tensor:
        """Each task's representation of fields of its own, where the bottom makes them: `(T ·
        batch, F, embedding_dim) -> (batch, T, width)`, the rows of one task after another's.

        Here every row passes as if its fields were for all tasks, and its own task's output is
        kept. A trunk built for such a bottom may leave out of that pass what nothing then reads
        (`Fusion.restrict`), or have a pass of its own.
        """
        z = self(fields)
        return z.unflatten(0, (z.shape[1], -1)).diagonal(dim1=0, dim2=2).transpose(1, 2)

    def diagnostics(self, fields: Tensor) -> list[Level]:
        """What each level of fusion did, first to last; empty where a representation is no weighted
        sum of experts. The last level's outputs are the tasks, and `weights @ experts` of it is
        what `forward` gives."""
        return []
