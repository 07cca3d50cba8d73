"""Models in MLflow: log, register, alias, resolve. No other file speaks to MLflow about models."""

from dataclasses import dataclass
from pathlib import Path

from serving.bundle import Bundle


@dataclass(frozen=True)
class ResolvedModel:
    """A model URI turned into a folder on this machine."""

    folder: Path
    name: str
    """Registered name; the bundle's own name for other URIs."""
    version: str
    """Registered version; the first part of the bundle's fingerprint for other URIs."""


class Registry:
    """The models of one MLflow tracking server or store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def log(self, bundle: Bundle, run_id: str, name: str = "model", step: int = 0) -> str:
        """Log a bundle as a model of a run; gives its URI, `models:/m-...`."""
        raise NotImplementedError

    def register(self, uri: str, name: str) -> int:
        """Make a logged model (`models:/m-...` or `runs:/<run>/<model>`) a version of `name`."""
        raise NotImplementedError

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point `alias` at a version, and record on the registered model what it pointed at."""
        raise NotImplementedError

    def resolve(self, uri: str, cache: Path | None = None) -> ResolvedModel:
        """A folder on this machine for `models:/name@alias`, `models:/name/3`, `models:/m-...`,
        `runs:/<run>/<model>` or a local folder.

        Raises ModelError, naming the nearest models, when there is none.
        """
        raise NotImplementedError
