"""A length of time as text: `<number><s|m|h|d>`, for example `30m` or `7d`."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_CENTURY = 36525 * 86400 * 10**6


def to_microseconds(length: str) -> int:
    """Raises ValueError for other text."""
    match = _LENGTH.fullmatch(length)
    if match is None:
        raise ValueError("expected `<number><s|m|h|d>`, for example `30m`, `7d`")
    return int(Decimal(match[1]) * _SECONDS[match[2]] * 10**6)


def _check(length: str) -> str:
    if not 0 < to_microseconds(length) <= _CENTURY:
        raise ValueError("expected a length of more than 0 and at most 100 years")
    return length


Duration = Annotated[str, AfterValidator(_check)]
"""Text of a config; stays as it was written."""
