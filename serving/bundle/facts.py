"""What `bundle.json` says."""

from typing import Any, Literal

from fulcrum.features.config import Config

FORMAT: Literal[1] = 1


class Facts(Config):
    """Of one bundle."""

    format: Literal[1]
    """Of the folder; another number is for another version of Fulcrum."""
    name: str
    """Of the run."""
    created: str
    """UTC, ISO 8601."""
    config: str
    """Fingerprint of the run's config."""
    state: str
    """Fingerprint of the feature state."""
    keys: tuple[str, ...]
    """Columns that go from a row to its scores."""
    scores: tuple[str, ...]
    """Columns of the scores, in their order."""
    rows: dict[str, str]
    """Types of the columns that a row carries."""
    past: dict[str, str]
    """Types of the columns that a past event carries."""
    versions: dict[str, str]
    """By package, at the time of the export."""
    plugins: tuple[str, ...]
    """Distributions that brought parts of the run."""
    parity: dict[str, float]
    """Largest difference between ONNX Runtime and torch, by score."""
    calibration: dict[str, dict[str, Any]] = {}
    """By task, for people: the graph has it. Empty where nothing was calibrated, as in models of
    earlier versions."""
    files: dict[str, str]
    """SHA-256 by path in the folder."""
