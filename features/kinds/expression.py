"""`expression`: a Polars SQL expression over the row, then encoded as another kind."""

from typing import Annotated, Literal

from pydantic import Field

from features.config import Config
from features.kinds.categorical import CategoricalConfig
from features.kinds.numeric import NumericConfig

Encoding = Annotated[CategoricalConfig | NumericConfig, Field(discriminator="kind")]


class ExpressionConfig(Config):
    """A value computed from the row's own columns."""

    kind: Literal["expression"] = "expression"
    sql: str
    """Polars SQL expression over the columns of the row and of its side tables."""
    encode: Encoding = NumericConfig()
    """How the value enters the network: `kind: numeric` or `kind: categorical`."""
