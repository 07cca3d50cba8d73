"""Names of the columns that metrics read of rows and make of units."""

from fulcrum.features.values.duration import to_microseconds

DAY = to_microseconds("1d")
AGE = "test.age"
"""Of a row: microseconds since its unit came."""


def numerator(metric: str) -> str:
    """Of a row: the metric's first expression, null where the outcome is missing; of a unit: what
    it adds to the numerator, null where the unit does not count."""
    return f"test.numerator.{metric}"


def denominator(metric: str) -> str:
    """Of a row: the metric's second expression; of a unit: what it adds to the denominator."""
    return f"test.denominator.{metric}"


def covariate(metric: str) -> str:
    """Of rows and units: what was known of the unit before the test."""
    return f"test.covariate.{metric}"


def before(column: str) -> str:
    """The same column of the time before the test; null for a unit without history."""
    return f"before.{column}"
