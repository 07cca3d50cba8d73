"""Ids and standardised numbers in plain Python."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fulcrum.features.layout import NULL, UNKNOWN


def ids(train: Sequence[Any], values: Sequence[Any]) -> list[int]:
    """Rows of the embedding table, the most frequent training value first, ties by value."""
    counts = Counter(value for value in train if value is not None)
    known = sorted(counts, key=lambda value: (-counts[value], value))
    places = {value: UNKNOWN + 1 + place for place, value in enumerate(known)}
    return [NULL if value is None else places.get(value, UNKNOWN) for value in values]


def dense(
    name: str, train: Sequence[float | None], values: Sequence[float | None]
) -> dict[str, list[float]]:
    """Standardised by the finite training values, with a flag where some of them were none."""
    finite = [value for value in train if value is not None and math.isfinite(value)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    spread = math.fsum((v - mean) ** 2 for v in finite) / len(finite) if finite else 0.0
    gone = [value is None or not math.isfinite(value) for value in values]
    scaled = [
        0.0 if none or value is None else (value - mean) / (math.sqrt(spread) or 1.0)
        for value, none in zip(values, gone, strict=True)
    ]
    flags = {f"{name}.null": [float(none) for none in gone]} if len(finite) < len(train) else {}
    return {name: scaled, **flags}
