"""`numeric`: a number per row, as a dense input or as a bucket with an embedding."""

from typing import Literal

from pydantic import Field

from features.config import Config


class NumericConfig(Config):
    """One number per row."""

    kind: Literal["numeric"] = "numeric"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    transform: Literal["standardise", "log1p", "quantile", "raw"] = "standardise"
    """`log1p` is sign(x)·log(1+|x|), then standardised; `quantile` buckets are embedded."""
    buckets: int = Field(16, ge=2)
    """Buckets of the `quantile` transform."""
