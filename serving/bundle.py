"""The served model as one folder: graph, feature state, config and an example, all checksummed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.state import FeatureState


@dataclass(frozen=True)
class Bundle:
    """A folder that holds all that scoring needs, and nothing that runs when it is read.

    `model.onnx` (and `model.onnx.data` when the tables are large), `state/`, `config.yaml`,
    `example.json` (the body of a `POST /score`) and `bundle.json` (versions, fingerprints, score
    columns, checksums).
    """

    folder: Path
    state: FeatureState
    config: dict[str, Any]
    """The resolved run config, as in `config.yaml`."""
    facts: dict[str, Any]
    """What `bundle.json` says."""

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Read a bundle and check that it is whole.

        Raises ModelError where there is no bundle, StateError where a file is damaged, missing or
        belongs to another model.
        """
        raise NotImplementedError
