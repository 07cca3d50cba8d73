"""One row a unit: the form in which arms are compared.

What was dealt to arms is units, so a unit is one entry however many rows it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from fulcrum.pipelines.ab.log.experiment import MeanMetric, MetricChoice
from fulcrum.pipelines.ab.log.staged import ARM, denominator, numerator
from fulcrum.pipelines.ab.statistics.users import Users

DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds."""
ROWS, FIRST, LAST, CAME = "rows", "first", "last", "came"
"""Columns of `Units.frame`: a unit's rows, its first and last time, and the day of the first."""
PERIOD, WEIGHT = "period", "weight"
"""Columns of `Units.frame` where shares changed: in which period a unit came, from 0, and what it
weighs."""


@dataclass(frozen=True)
class Ramp:
    """Periods of constant shares."""

    began: tuple[int, ...]
    """Microseconds since 1970 at which each period after the first began."""
    shares: tuple[Mapping[str, float], ...]
    """By arm, of each period."""
    declared: bool
    """By the experiment; else they were found in the log."""


def ones(frame: pl.DataFrame) -> np.ndarray:
    """Each unit once or, where shares changed, as its weight."""
    return frame[WEIGHT].to_numpy() if WEIGHT in frame.columns else np.ones(len(frame))


@dataclass(frozen=True)
class Units:
    """The units of a test."""

    frame: pl.DataFrame
    """One row a unit of exactly one arm, in the order in which they came."""
    daily: pl.DataFrame
    """One row a unit and day (whole days of UTC since 1970); none without times."""
    retrained: dict[str, tuple[int, ...]]
    """By arm, days on which a model of a new version began to answer, but for the first."""
    test: pl.LazyFrame
    """The rows of the test, of units in exactly one arm."""
    metrics: Mapping[str, MetricChoice]
    has_past: bool
    """Whether the log has rows from before the test."""
    assigned: dict[str, int] | None
    """Units by arm that the service assigned, those without rows among them; None for logs that do
    not say."""
    dealt: dict[str, int]
    """Units by arm, those in several arms and those that `where` leaves out among them."""
    crossed: int
    """Units in several arms; they are left out of `frame`."""
    rows: int
    """Rows of the test, of units in exactly one arm."""
    repeated: int
    """Rows of the test that say exactly what another one says."""
    nobody: int
    """Rows of the test that name no unit (null, NaN or empty); they are left out everywhere."""
    outside: int
    """Rows without an arm, since the test began."""
    filtered: int
    """Rows that `where` leaves out."""
    before: int
    """Rows from before the test."""
    began: datetime | None
    ended: datetime | None
    """Time of the first and of the last row of the test."""
    ramp: Ramp | None = None
    """None while shares are constant."""

    def arm(self, name: str) -> pl.DataFrame:
        """The units of an arm."""
        return self.frame.filter(pl.col(ARM) == name)

    def users(self, metric: str, frame: pl.DataFrame) -> Users:
        """What statistics see of some rows of `frame`."""
        mean = isinstance(self.metrics[metric], MeanMetric)
        past = f"before.{numerator(metric)}", f"before.{denominator(metric)}"
        users = Users(
            frame[numerator(metric)].to_numpy(),
            np.ones(len(frame)) if mean else frame[denominator(metric)].to_numpy(),
            frame[past[0]].fill_null(np.nan).to_numpy() if self.has_past else None,
            None if mean or not self.has_past else frame[past[1]].fill_null(np.nan).to_numpy(),
        )
        return users.weighted(ones(frame)) if WEIGHT in frame.columns else users
