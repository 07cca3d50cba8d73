"""`history`: the last N events of a key, strictly before the row, as aligned sequences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from fulcrum.features.errors import nearest
from fulcrum.features.kinds.base import Features, Function, Learned, Read, Schema
from fulcrum.features.kinds.recall import PREFIX, RecallKind
from fulcrum.features.kinds.vocabulary import Lookup
from fulcrum.features.layout import UNKNOWN, SequenceInput, TableSpec
from fulcrum.features.past.events import TIME, Reach, Standing
from fulcrum.features.values import sql

_YOUNGEST = UNKNOWN + 1
_AGES = 33
"""Buckets of the age: under 1 s, under 2 s, under 4 s, ... up to 2^32 s, a good century."""


class HistoryConfig(RecallKind):
    """The key's most recent events before the row, oldest first, ties with the row excluded.

    Events that share a timestamp are ordered by content. Null, NaN and an empty text are no key and
    have no past.
    """

    kind: Literal["history"] = "history"
    key: str
    """Column whose value rows and events share, for example `user_id`."""
    where: str | None = None
    """SQL condition that an event must meet, for example `long_view = 1`."""
    length: int = Field(50, ge=1)
    """Events kept, the most recent ones."""
    attributes: tuple[str, ...] = Field(min_length=1)
    """Categorical features of this config to read from each event; each shares that feature's
    vocabulary and embedding table, which is also the query of target attention."""
    age: bool = True
    """Add the age of each event (row time minus event time) in logarithmic buckets."""

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        where = []
        if self.where is not None:
            where = [Read(("where",), self.where, is_sql=True, row=False, past=True)]
        names = [feature for feature in self.attributes if feature in features]
        attributes = [
            read._replace(at=("attributes", self.attributes.index(feature)), row=False, past=True)
            for feature in names
            for read in ([] if feature == name else features[feature].reads(feature, features))
        ]
        return [Read(("key",), self.key, past=True, id=True), *where, *attributes]

    def problems(
        self, name: str, features: Features
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        candidates = [n for n, feature in features.items() if feature.kind == "categorical"]
        for place, attribute in enumerate(self.attributes):
            if attribute not in candidates:
                hint = nearest(attribute, candidates)
                message = f"expected a categorical feature of this config, got `{attribute}`{hint}"
                yield ("attributes", place), message
            elif self.age and attribute == AGE:
                yield (
                    ("attributes", place),
                    "the age of the events has this name; rename the feature",
                )
            elif attribute in self.attributes[:place]:
                yield ("attributes", place), f"`{attribute}` is named twice"

    def event_sql(self) -> Mapping[str, str]:
        return {} if self.where is None else {"where": self.where}

    def condition(self) -> pl.Expr | None:
        return condition(self)

    def reach(self) -> Reach:
        return Reach(last=self.length, length=0)

    def answer(self, name: str, standing: Standing, base: float) -> Mapping[str, pl.Series]:
        lists = compute(self, standing)
        return {f"{PREFIX}{name}.{attribute}": column for attribute, column in lists.items()}

    def remembers(self) -> tuple[str, ...]:
        return self.attributes

    def tables(self, name: str, learned: Learned) -> Sequence[TableSpec]:
        return [TableSpec(name=f"{name}.{AGE}", rows=_YOUNGEST + _AGES)] if self.age else []

    def inputs(self, name: str, learned: Learned, features: Features) -> Sequence[SequenceInput]:
        queries: dict[str, str | None] = {attribute: attribute for attribute in self.attributes}
        tables = {a: str(features[a].table(a)) for a in self.attributes}
        if self.age:
            queries[AGE], tables[AGE] = None, f"{name}.{AGE}"
        return [
            SequenceInput(
                name=f"{name}.{attribute}",
                table=tables[attribute],
                history=name,
                query=query,
                max_length=self.length,
            )
            for attribute, query in queries.items()
        ]

    def steps(
        self, name: str, learned: Learned, lookups: Mapping[str, Lookup], schema: Schema
    ) -> Sequence[Function]:
        columns = dict.fromkeys(self.attributes, _same) | ({AGE: _buckets} if self.age else {})
        return [Function(f"{name}.{a}", f"{PREFIX}{name}.{a}", f) for a, f in columns.items()]

    def missing(self, name: str, schema: Schema) -> pl.Expr:
        return pl.col(f"{PREFIX}{name}.{self.attributes[0]}").list.len() == 0


AGE = "age"


def condition(config: HistoryConfig) -> pl.Expr | None:
    """The events that can enter the history; a null is no."""
    return None if config.where is None else pl.col(sql.value(config.where)).cast(pl.Boolean)


def compute(config: HistoryConfig, standing: Standing) -> dict[str, pl.Series]:
    """Lists of equal length for each row of a batch, oldest event first, empty without a past.

    One entry per attribute, `List` of the attribute's own type, read from the event column of that
    name; with `config.age` also `age`, `List(Float32)` seconds.
    """
    start = np.maximum(standing.oldest, standing.end - config.length)
    standing.need(start)
    length = standing.end - start
    offsets = np.append(0, np.cumsum(length))
    place = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)
    lists = {name: _lists(standing.events[name][place], offsets) for name in config.attributes}
    if config.age:
        times = standing.events[TIME].to_numpy()[place]
        age = (np.repeat(standing.moments, length) - times) / 1e6
        lists[AGE] = _lists(pl.Series(age, dtype=pl.Float32), offsets)
    return lists


def _same(ids: pl.Series) -> pl.Series:
    return ids


def _buckets(ages: pl.Series) -> pl.Series:
    """By the binary digits of whole seconds."""
    array = ages.to_arrow()
    digits = np.frexp(np.trunc(array.values.to_numpy().astype(np.float64)))[1]
    buckets = _YOUNGEST + np.minimum(digits, _AGES - 1)
    return _lists(pl.Series(buckets, dtype=pl.Int32), array.offsets.to_numpy())


def _lists(values: pl.Series, offsets: np.ndarray) -> pl.Series:
    import pyarrow as pa

    array = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.Series(pl.from_arrow(array), dtype=pl.List(values.dtype))
