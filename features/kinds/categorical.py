"""`categorical`: one id per row."""

from typing import Literal

from pydantic import Field

from features.config import Config


class CategoricalConfig(Config):
    """One id per row, looked up in an embedding table."""

    kind: Literal["categorical"] = "categorical"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    min_count: int = Field(1, ge=1)
    """Values seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash values into this many buckets instead of fitting a vocabulary."""
    share: str | None = None
    """Name of another categorical or multi feature whose vocabulary and table this one uses."""
