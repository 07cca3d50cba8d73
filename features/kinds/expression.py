"""`expression`: a Polars SQL expression over the row, then encoded as another kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fulcrum.features.config import choice
from fulcrum.features.kinds.base import Features, Read
from fulcrum.features.kinds.categorical import CategoricalConfig
from fulcrum.features.kinds.encoded import EncodedKind
from fulcrum.features.kinds.numeric import NumericConfig
from fulcrum.features.values import sql

if TYPE_CHECKING:
    Encoding = CategoricalConfig | NumericConfig
else:
    Encoding = choice({"categorical": CategoricalConfig, "numeric": NumericConfig})


class ExpressionConfig(EncodedKind):
    """A value computed from the row's own columns."""

    kind: Literal["expression"] = "expression"
    sql: str
    """Polars SQL expression over the columns of the row and of its side tables."""
    encode: Encoding = NumericConfig()
    """How the value enters the network: `kind: numeric` or `kind: categorical`."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        return [Read(("sql",), self.sql, is_sql=True)]

    def value_column(self, name: str) -> str:
        return sql.value(self.sql)
