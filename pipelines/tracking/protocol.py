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


class PrefixTracker:
    """Passes everything on under names that begin with a word of their own."""

    def __init__(self, tracker: Tracker, prefix: str) -> None:
        self.tracker, self.prefix = tracker, prefix

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.log_metrics({f"{self.prefix}/{k}": v for k, v in metrics.items()}, step)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self.tracker.log_artifact(path, f"{self.prefix}/{folder or ''}".rstrip("/"))


class SilentTracker:
    """Keeps nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        pass
