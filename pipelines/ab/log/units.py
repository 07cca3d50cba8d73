"""One row a unit: the form in which arms are compared.

What was dealt to arms is units, so a unit is one entry however many rows it has; where units belong
to clusters, such as the devices of one person, a cluster is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from fulcrum.pipelines.ab.log.columns import ARM, CLUSTER
from fulcrum.pipelines.ab.log.totals import FIRST
from fulcrum.pipelines.ab.metrics import MetricConfig
from fulcrum.pipelines.ab.metrics.columns import DAY, before, denominator, numerator
from fulcrum.pipelines.ab.statistics.users import Users

__all__ = ["CAME", "DAY", "FIRST", "LAST", "ROWS", "Units", "day"]

ROWS, LAST, CAME = "rows", "last", "came"
"""Columns of `Units.frame` beside `FIRST`: a unit's rows, the time of its last row, and the day on
which it came."""
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
    """One row a unit of exactly one arm, in the order in which they came; those that were dealt and
    have no row among them, where the log says so."""
    daily: pl.DataFrame
    """One row a unit (or cluster) and day (whole days since 1970 by the clocks of the log's zone)
    for the metrics that can be told from a day; none without times."""
    retrained: dict[str, tuple[int, ...]]
    """By arm, days on which a model of a new version began to answer, but for the first."""
    test: pl.LazyFrame
    """The rows of the test, of units in exactly one arm."""
    logged: pl.LazyFrame | None
    """All rows as they were logged, with every column, and with `UNIT`; None where that is no
    column of theirs."""
    metrics: Mapping[str, MetricConfig]
    has_past: bool
    """Whether any unit has a value from before the test."""
    assigned: dict[str, int] | None
    """Units by arm that were dealt, those without rows among them; None for logs that do not
    say."""
    dealt: dict[str, int]
    """Units by arm that have rows, those in several arms and those that `where` leaves out among
    them."""
    crossed: int
    """Units in several arms; they are left out of `frame`."""
    waiting: dict[str, int]
    """By metric, units whose time was not over when the log ended; they do not count in it."""
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

    def entries(self, metric: str, frame: pl.DataFrame) -> pl.DataFrame:
        """What varies in some rows of `frame`, in their order: the units that count in a metric, or
        what each cluster has of them in each arm. Entries of entries are the same."""
        counted = frame.filter(pl.col(numerator(metric)).is_not_null())
        if CLUSTER not in frame.columns:
            return counted
        names = numerator(metric), denominator(metric)
        columns = [name for n in names for name in (n, before(n)) if name in frame.columns]
        any_known = (pl.when(pl.col(c).is_not_null().any()).then(pl.col(c).sum()) for c in columns)
        return counted.group_by(ARM, CLUSTER, maintain_order=True).agg(
            *(total.alias(c) for total, c in zip(any_known, columns, strict=True))
        )

    def users(self, metric: str, frame: pl.DataFrame) -> Users:
        """What statistics see of some rows of `frame`: an entry for each of its `entries`.

        A cluster with units in both arms is an entry of each, and what they have in common is not
        taken into account: where it makes them alike, intervals are too wide."""
        entries = self.entries(metric, frame)
        past = before(numerator(metric)), before(denominator(metric))
        known = [entries[c].fill_null(np.nan).to_numpy() for c in past if self.has_past]
        users = Users(
            entries[numerator(metric)].to_numpy(), entries[denominator(metric)].to_numpy(), *known
        )
        return users.weighted(ones(entries)) if WEIGHT in entries.columns else users


def day(time: pl.Expr, zone: str) -> pl.Expr:
    """Days since 1970 of microseconds in UTC, by the clocks of a zone."""
    there = time.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return there.dt.date().to_physical().cast(pl.Int64)
