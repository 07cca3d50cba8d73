"""`history`: the last N events of a key, strictly before the row, as aligned sequences."""

from typing import Literal

from pydantic import Field

from features.config import Config


class HistoryConfig(Config):
    """The key's most recent events before the row, oldest first, ties with the row excluded."""

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
