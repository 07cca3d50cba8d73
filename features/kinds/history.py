"""`history`: the last N events of a key, strictly before the row, as aligned sequences."""

from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field

from features.config import Config
from features.past import TIME, Standing


class HistoryConfig(Config):
    """The key's most recent events before the row, oldest first, ties with the row excluded.

    Events that share a timestamp are ordered by content. A null key has no past.
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


AGE = "age"


def condition(config: HistoryConfig) -> pl.Expr | None:
    """The events that can enter the history; a null is no."""
    return None if config.where is None else pl.sql_expr(config.where).cast(pl.Boolean)


def compute(config: HistoryConfig, standing: Standing) -> dict[str, pl.Series]:
    """Lists of equal length for each row of a batch, oldest event first, empty without a past.

    One entry per attribute, `List` of the attribute's own type, read from the event column of that
    name; with `config.age` also `age`, `List(Float32)` seconds.
    """
    start = np.maximum(standing.first, standing.end - config.length)
    length = standing.end - start
    offsets = np.append(0, np.cumsum(length))
    place = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)
    lists = {
        name: _lists(standing.events[name].gather(place), offsets) for name in config.attributes
    }
    if config.age:
        times = standing.events[TIME].to_numpy()[place]
        age = (np.repeat(standing.moments, length) - times) / 1e6
        lists[AGE] = _lists(pl.Series(age, dtype=pl.Float32), offsets)
    return lists


def _lists(values: pl.Series, offsets: np.ndarray) -> pl.Series:
    array = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.Series(pl.from_arrow(array), dtype=pl.List(values.dtype))
