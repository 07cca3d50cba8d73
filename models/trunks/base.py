"""What every trunk shares: its signature and the settings of the network around it."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from features.config import Config


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
    tower: tuple[int, ...] = (64,)
    """Hidden units of each task's tower."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout after each hidden layer of experts and towers."""

    def build(self, fields: int, tasks: int) -> "Trunk":
        """Make the trunk for F fields and T tasks."""
        raise NotImplementedError

    def copies(self, tasks: int) -> int:
        """Independent copies of every embedding table that this trunk asks for."""
        return 1


class Trunk(nn.Module):
    """`forward(fields (batch, copies · fields, embedding_dim)) -> (batch, tasks, width)`.

    Copies lie one after another on the field axis: `fields.view(batch, copies, fields, dim)`.
    """

    width: int
    """Width H of each task's representation."""

    def diagnostics(self, fields: Tensor) -> dict[str, Tensor]:
        """Gate weights `(batch, gates, experts)`, expert outputs `(batch, experts, width)`."""
        raise NotImplementedError
