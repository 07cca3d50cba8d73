"""`numeric`: a number per row, as a dense input or as a bucket with an embedding."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import (
    Arithmetic,
    FeatureKind,
    Features,
    Learned,
    Read,
    Schema,
)
from fulcrum.features.kinds.vocabulary import Lookup
from fulcrum.features.layout import NULL, UNKNOWN, DenseInput, IdInput, TableSpec

logger = logging.getLogger(__name__)

_LARGEST = float(np.finfo(np.float32).max)


class Number(Learned):
    """Moments and edges of the training split's finite values, after the transform."""

    mean: float = 0.0
    std: float = Field(1.0, gt=0)
    """1 where all values are equal."""
    edges: tuple[float, ...] = ()
    """Lower bounds of the second and later quantile buckets, rising."""
    nulls: int = 0
    """Training rows without a finite value."""
    not_finite: int = 0
    """Those of them that are NaN or infinite rather than null."""


class NumericConfig(FeatureKind):
    """One number per row. NaN and infinities count as null.

    A dense number is 0 where null (after standardising: the mean) and, when the training split had
    nulls, comes with a second dense input `<name>.null` of 0 or 1. A `quantile` bucket has its own
    id for null.
    """

    kind: Literal["numeric"] = "numeric"
    column: str | None = None
    """Column to read; the feature's own name when left out."""
    transform: Literal["standardise", "log1p", "quantile", "raw"] = "standardise"
    """`log1p` is sign(x)·log(1+|x|), then standardised; `quantile` buckets are embedded."""
    buckets: int = Field(16, ge=2)
    """Buckets of the `quantile` transform."""

    @property
    def learned(self) -> type[Learned]:
        return Number

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        return [Read(("column",), self.column or name)]

    def learn(self, name: str, frame: pl.LazyFrame, schema: Schema) -> Number:
        column, value = pl.col(self.column or name), self._value(name, schema)
        values = frame.select(value=value, empty=column.is_null()).collect()
        # In one chunk: how rows are split must not decide the last bit.
        numbers = values["value"].drop_nulls().rechunk().to_frame()
        rows, nulls, empty = values.height, values["value"].null_count(), values["empty"].sum()
        mean, std = numbers.select(pl.all().mean(), std=pl.all().std(ddof=0)).row(0)
        counts = {"nulls": nulls, "not_finite": nulls - empty}
        if nulls == rows:
            logger.warning("feature %s has no number in the training split", name)
            return Number(**counts)
        if counts["not_finite"]:
            logger.warning(
                "feature %s: %d NaN or infinite values in the training split count as null",
                name,
                counts["not_finite"],
            )
        if self.transform == "quantile":
            return Number(edges=self._edges(frame.select(value)), **counts)
        if self.transform == "raw":
            return Number(**counts)
        if not np.isfinite([mean, std]).all():
            raise DataError(f"features.{name}: values too large to standardise; use `log1p`")
        return Number(mean=mean, std=std or 1.0, **counts)

    def tables(self, name: str, learned: Learned) -> Sequence[TableSpec]:
        if self.transform != "quantile":
            return ()
        assert isinstance(learned, Number)
        return [TableSpec(name=name, rows=UNKNOWN + 2 + len(learned.edges))]

    def inputs(
        self, name: str, learned: Learned, features: Features
    ) -> Sequence[IdInput | DenseInput]:
        assert isinstance(learned, Number)
        if self.transform == "quantile":
            return [IdInput(name=name, table=name)]
        flag = [DenseInput(name=f"{name}.null")] if learned.nulls else []
        return [DenseInput(name=name), *flag]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[Arithmetic]:
        assert isinstance(learned, Number)
        self._value(name, schema)
        column = self.column or name
        if self.transform == "quantile":
            return [Arithmetic(name, column, partial(_bucket, np.array(learned.edges)))]
        score = _log_score if self.transform == "log1p" else _score
        dense = Arithmetic(name, column, score, (learned.mean, learned.std))
        return [dense, Arithmetic(f"{name}.null", column, _null)] if learned.nulls else [dense]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return self._value(name, schema).is_null()

    def _value(self, name: str, schema: Schema) -> pl.Expr:
        """Float64 after the transform, before standardising; null unless finite."""
        column = self.column or name
        dtype = schema[column]
        if not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
            raise DataError(
                f"features.{name}: column `{column}` is {dtype}; expected numbers (`data.derive` "
                "makes them of text, for example by CAST(REPLACE(..., ',', '.') AS DOUBLE); "
                "`csv: {null_values: [...]}` names what stands for none)"
            )
        number = pl.col(column).cast(pl.Float64)
        number = pl.when(number.is_finite()).then(number)
        if self.transform == "log1p":
            return number.sign() * number.abs().log1p()
        return number

    def _edges(self, values: pl.LazyFrame) -> tuple[float, ...]:
        """Values at the ranks k/buckets, k = 1 .. buckets - 1, each once."""
        numbers = values.collect().to_series().drop_nulls().sort().to_numpy()
        ranks = np.arange(1, self.buckets) * len(numbers) // self.buckets
        return tuple(np.unique(numbers[ranks]).tolist())


def _bucket(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    place = UNKNOWN + 1 + np.searchsorted(edges, values, side="right")
    return np.where(np.isfinite(values), place, NULL).astype(np.int32)


def _log_score(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return _score(np.copysign(np.log1p(np.abs(values)), values), mean, std)


def _score(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        score = np.where(np.isfinite(values), (values - mean) / std, 0.0)
    return np.maximum(np.minimum(score, _LARGEST), -_LARGEST).astype(np.float32)


def _null(values: np.ndarray) -> np.ndarray:
    return (~np.isfinite(values)).astype(np.float32)
