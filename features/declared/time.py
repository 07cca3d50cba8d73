"""When an event happened: the column, and what its values mean."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from fulcrum.features.config import Config
from fulcrum.features.errors import nearest

Unit = Literal["s", "ms", "us", "ns"]


class TimeConfig(Config):
    """The column that orders events."""

    column: str
    """A number, a date, a date-time, or text in ISO 8601."""
    unit: Unit | None = None
    """Unit of a number since 1970, to be stated for numbers; other types carry their own."""
    zone: str = "UTC"
    """Where the clock stood that wrote times without a zone, `Europe/Berlin` for example. It holds
    for every date-time of the rows."""
    earliest: date = Field(date(1990, 1, 1), ge=date(1700, 1, 1))
    """First day that a time may fall on: an earlier one is taken for a mistake in the unit."""
    latest: date | None = Field(None, lt=date(2200, 1, 1))
    """Last day that a time may fall on; tomorrow when left out."""

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        if zone not in available_timezones():
            hint = nearest(zone, available_timezones())
            raise ValueError(f"`{zone}` is no time zone; expected a name such as `UTC`{hint}")
        return zone

    @property
    def days(self) -> tuple[date, date]:
        """First and last day that a time may fall on."""
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        return self.earliest, self.latest or tomorrow
