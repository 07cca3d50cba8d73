"""What a prepared data set says of itself: `manifest.json`."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fulcrum.features.config import Config
from fulcrum.features.errors import StateError
from fulcrum.features.plugins import requirements, sources
from fulcrum.features.spec import FeatureSpec

VERSION = 2
"""Of the prepared files. A data set of another version is prepared anew."""

FILE = "manifest.json"
Stamp = tuple[str, int, int]


class Shard(Config):
    """One Parquet file."""

    name: str
    """Path in the folder of the data set."""
    rows: int
    bytes: int
    sha256: str


class SplitFacts(Config):
    """One split."""

    rows: int
    shards: tuple[Shard, ...]
    positives: dict[str, int]
    """By binary task, among observed rows."""
    observed: dict[str, int]
    """Rows in which each task is observed."""
    missing: dict[str, int]
    """Rows without a value, by feature."""


class Manifest(Config):
    """The whole data set."""

    version: int = VERSION
    fingerprint: str
    """Of the configuration and the input files."""
    inputs: tuple[Stamp, ...]
    """Name, size and time of change of every file read."""
    split: str
    """Kind of split."""
    boundaries: dict[str, Any]
    """Where one split ends and the next begins."""
    rows_read: int
    """Rows in the input files."""
    rows_dropped: dict[str, int]
    """Why rows are in no split: `repeated`, `where`, `no split`; what those of a long log are that
    are no impressions."""
    columns: dict[str, str]
    """Name and type of the shards' columns."""
    splits: dict[str, SplitFacts]
    end: int | None = None
    """Time of the last event, in microseconds, where outcomes come late."""

    def save(self, folder: Path) -> None:
        """Write `manifest.json`."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Raises StateError when there is no manifest of this version."""
        try:
            document = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if document.get("version") == VERSION:
                return cls.model_validate(document)
        except FileNotFoundError:
            raise StateError(f"{folder} holds no prepared data set ({FILE} is missing)") from None
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise StateError(f"{folder / FILE}: not readable: {error}") from error
        raise StateError(f"{folder}: prepared by another version of Fulcrum; prepare it again")


def fingerprint(spec: FeatureSpec, inputs: Sequence[Stamp]) -> str:
    """16 hexadecimal digits that change with the data, feature and task settings, with the code of
    kinds from files beside the config, with the versions of plugins that brought kinds, and with
    the files (name, size, time of change) of data."""
    parts = {"version": VERSION, "spec": spec.model_dump(mode="json"), "inputs": list(inputs)}
    if plugins := requirements(spec):
        parts["plugins"] = plugins
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode() + b"".join(sources(spec).values())).hexdigest()[:16]


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
