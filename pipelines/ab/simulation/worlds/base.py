"""What every simulated world shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import RenderableType

from fulcrum.features.config import Config

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many parts of how many are done."""


@dataclass(frozen=True)
class Simulated:
    """What came out, beside the files."""

    tables: tuple[RenderableType, ...]
    sentences: tuple[str, ...]
    """The verdict, in words."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Numbers for the run."""


class WorldConfig(Config):
    """One world; `simulate` plays it."""

    kind: str

    def simulate(self, folder: Path, progress: Progress) -> Simulated:
        """Play it and write its files into a folder that is there and empty."""
        raise NotImplementedError
