"""What the training loop tells whoever keeps the record of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Keeps a run's numbers and files. Only rank 0 is given one that does anything."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers measured after `step` optimizer steps; absent ones are left out, never null."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, under `folder` of the run when given."""


class SilentTracker:
    """Keeps nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        pass
