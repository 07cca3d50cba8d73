"""What becomes known only after the event, and when."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Discriminator, Tag

from fulcrum.features.config import Config
from fulcrum.features.values.duration import Duration


class OutcomeConfig(Config):
    """When an outcome is known; with neither setting, at once after the event."""

    known_after: Duration | None = None
    """How long after the event, `<number><s|m|h|d>`: `2d` for what is looked up two days later.
    Beside `known_at`: when it is known of an event without such a time, that it has none."""
    known_at: str | None = None
    """Column of the time at which it became known, written as that of `data.time`; null: never."""


Outcomes = Annotated[
    Annotated[tuple[str, ...], Tag("list")] | Annotated[dict[str, OutcomeConfig], Tag("map")],
    Discriminator(lambda value: "map" if isinstance(value, Mapping) else "list"),
]
"""Names alone, or with when each is known."""
