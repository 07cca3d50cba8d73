"""What every field interaction shares: fields in, as many fields out."""

from typing import ClassVar

from torch import Tensor

from fulcrum.features.config import Config
from fulcrum.models.part import Part


class InteractionConfig(Config):
    """A subclass adds `kind` and its own settings."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line for `fulcrum models`."""

    def build(self, fields: int, dim: int, copies: int) -> "Interaction":
        """Make the interaction of F fields of width D, with parameters of its own for each copy."""
        raise NotImplementedError


class Interaction(Part):
    """`(batch, copies · F, D) -> (batch, copies · F, D)`, copy-major; copies never mix."""

    def forward(self, fields: Tensor) -> Tensor:
        raise NotImplementedError
