"""`cross`: the combination of two or more columns as one id."""

from typing import Literal

from pydantic import Field

from features.config import Config


class CrossConfig(Config):
    """One id for each combination of values of several columns."""

    kind: Literal["cross"] = "cross"
    columns: tuple[str, ...] = Field(min_length=2)
    """Columns to combine; a null in any of them makes the cross null."""
    min_count: int = Field(1, ge=1)
    """Combinations seen fewer times than this in the training split count as unknown."""
    hash_buckets: int | None = Field(None, ge=1)
    """Hash combinations into this many buckets instead of fitting a vocabulary."""
