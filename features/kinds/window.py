"""`window`: a count, sum, mean or rate over a key's past, strictly before the row."""

from typing import Literal

from pydantic import Field

from features.config import Config
from features.kinds.numeric import NumericConfig


class WindowConfig(Config):
    """An aggregate over past events with the same key.

    An event counts for a row when its key is equal and `row.time - over <= event.time < row.time`.
    """

    kind: Literal["window"] = "window"
    key: str
    """Column whose value rows and events share, for example `user_id`."""
    statistic: Literal["count", "sum", "mean", "rate"]
    """`count` of events that meet `where`; `sum` or `mean` of `value` over them; `rate`: the share
    of the key's events in the window that meet `where`."""
    where: str | None = None
    """SQL condition on the event; needed for `rate`."""
    value: str | None = None
    """SQL value of the event; needed for `sum` and `mean`, refused for the others."""
    over: str | None = None
    """Length of the window, `<number><s|m|h|d>`, for example `7d`; the whole past when left out."""
    smoothing: float = Field(0.0, ge=0)
    """Pseudo-events at the training split's own mean added to `mean` and `rate`. With 0, a row with
    no past is null."""
    encode: NumericConfig = NumericConfig()
    """How the number enters the network."""
