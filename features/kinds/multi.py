"""`multi`: a set of ids per row, mean-pooled."""

from typing import Literal

from pydantic import Field

from features.config import Config


class MultiConfig(Config):
    """Several ids per row: a list column, or a string with a separator."""

    kind: Literal["multi"] = "multi"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    separator: str | None = Field(None, min_length=1)
    """Where to cut a string column; leave it out for list columns."""
    min_count: int = Field(1, ge=1)
    """Values seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash values into this many buckets instead of fitting a vocabulary."""
    max_length: int = Field(20, ge=1)
    """Ids kept per row, the first ones."""
    share: str | None = None
    """Name of another categorical or multi feature whose vocabulary and table this one uses."""
