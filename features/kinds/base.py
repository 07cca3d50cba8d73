"""What every kind of feature shares: from what it reads to the inputs of the network.

A new kind is a file with a subclass and a line in the dictionary of `fulcrum.features.kinds`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from fulcrum.features.config import Config
from fulcrum.features.kinds.counts import Counts
from fulcrum.features.kinds.vocabulary import Buckets, Lookup
from fulcrum.features.layout import Input, TableSpec
from fulcrum.features.values import sql

Schema = Mapping[str, pl.DataType]
"""Types of the columns of a frame."""
Column = np.ndarray | pl.Series
Columns = Mapping[str, Column]
"""By name, one value per row."""
Features = Mapping[str, "FeatureKind"]
"""All features of a config by name."""


class Read(NamedTuple):
    """A column or an SQL expression that a feature reads."""

    at: tuple[str | int, ...]
    """Where the feature's config says so."""
    text: str
    """Name or SQL."""
    is_sql: bool = False
    """Whether the text is SQL."""
    row: bool = True
    """Read from the row itself, so it must not be an outcome."""
    past: bool = False
    """Read from past events."""
    id: bool = False
    """An id, which files must give to the last digit: text or a whole number, never a float."""

    @property
    def column(self) -> str:
        """Name of the column that holds the value."""
        return sql.value(self.text) if self.is_sql else self.text


class Arithmetic(NamedTuple):
    """An input computed from one number per row. Those of one function are computed at once."""

    input: str
    """Its name."""
    column: str
    """Name of the column that holds the number."""
    compute: Callable[..., np.ndarray]
    """From float64 `[K, B]`, in which what is not finite stands for null, and each of the
    parameters `[K, 1]` to the inputs `[K, B]`."""
    parameters: tuple[float, ...] = ()
    """Those of this input."""


class Function(NamedTuple):
    """An input computed from one column by what is no expression: Polars would call it back from
    threads of its own, which for a row costs ten times as much."""

    input: str
    """Its name."""
    column: str
    """Name of the column."""
    compute: Callable[[pl.Series], pl.Series]
    """From the column to the input, each value by itself."""

    def expression(self, dtype: pl.DataType) -> pl.Expr:
        """The same for a plan; `dtype` is that of the input."""
        values = pl.col(self.column).map_batches(self.compute, dtype, is_elementwise=True)
        return values.alias(self.input)


Step = pl.Expr | Arithmetic | Function
"""What makes one input of the network; an expression has its name."""


class Learned(Config):
    """What a feature learned from the training split, beside its vocabulary; nothing by default."""


class FeatureKind(Config):
    """One declared feature. `name` is its name in the config, `features` are all of the config,
    `schema` has the types of all columns that `reads` names."""

    kind: str
    """Name of the kind."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        """Every column and expression behind the feature."""
        raise NotImplementedError

    def problems(
        self, name: str, features: Features
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong with the feature beside the others: place in its config, message."""
        yield from ()

    def encoder(self, name: str) -> "FeatureKind":
        """What fits the feature's value and makes inputs of it, by the members below: another kind
        where this one computes the value first."""
        return self

    def table(self, name: str) -> str | None:
        """Table of the vocabulary that the feature's ids come from: its own, or a shared one."""
        return None

    def vocabulary(self, name: str, schema: Schema) -> Counts | Buckets | None:
        """The feature's own vocabulary, to be counted in training rows with the columns of `reads`;
        None when it has none, or uses another feature's."""
        return None

    @property
    def learned(self) -> type[Learned]:
        """What `learn` returns."""
        return Learned

    def learn(self, name: str, frame: pl.LazyFrame, schema: Schema) -> Learned:
        """Fit on training rows with the columns of `reads` and what looking back adds."""
        return Learned()

    def tables(self, name: str, learned: Learned) -> Sequence[TableSpec]:
        """Embedding tables of the feature that no vocabulary stands behind."""
        return ()

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[Input]:
        """The inputs of the network that the feature becomes."""
        raise NotImplementedError

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[Step]:
        """One per input, in the order of `inputs`, named as they are; each looks at one row."""
        raise NotImplementedError

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        """Whether a row has no value of this feature."""
        raise NotImplementedError
