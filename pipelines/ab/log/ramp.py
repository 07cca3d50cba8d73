"""Shares that changed while the test ran: periods of constant shares, and what a unit weighs.

The service deals by the shares of its configuration, and its log holds arms, not shares; so changes
are declared in `analysis.ramp`. Those that are not are found in the units that came each day.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.raw.instant import moment
from fulcrum.pipelines.ab.log.columns import ARM, CLUSTER, UNIT
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import CAME, FIRST, PERIOD, WEIGHT, Ramp, Units
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator
from fulcrum.pipelines.ab.statistics import sample_ratio, strata

MOST = 10
"""Changes of the shares that are taken for a ramp; more are disorder."""


def ramped(units: Units, experiment: Experiment) -> Units:
    """The units with their period and its weight (`strata.weights`), where shares changed; else as
    they are.

    A ramp that is not declared is one in which the control's share only ever falls, all arms have
    units in each period, and the last one has the shares of `arms`. Anything else is no ramp, but a
    deal that does not fit its shares. Clusters have units of several periods, so with them none is
    looked for. Raises DataError for a declared ramp in a log without times,
    or whose stages are not in order.
    """
    ramp = _declared(units, experiment) or _found(units, experiment)
    if ramp is None:
        return units
    shares = np.array([[period[arm] for arm in experiment.arms] for period in ramp.shares])
    weights = pl.DataFrame(
        {
            PERIOD: np.repeat(np.arange(len(shares)), shares.shape[1]),
            ARM: list(experiment.arms) * len(shares),
            WEIGHT: strata.weights(shares).ravel(),
        }
    )
    period = pl.sum_horizontal((pl.col(FIRST) >= began).cast(pl.Int64) for began in ramp.began)
    frame = units.frame.with_columns(period.alias(PERIOD)).join(
        weights, on=[PERIOD, ARM], how="left", maintain_order="left"
    )
    daily = units.daily.join(frame.select(UNIT, WEIGHT), on=UNIT, maintain_order="left")
    both = [part(name) for name in units.metrics for part in (numerator, denominator)]
    weighted = [pl.col(name) * pl.col(WEIGHT) for name in both if name in daily.columns]
    return replace(units, frame=frame, daily=daily.with_columns(weighted), ramp=ramp)


def _declared(units: Units, experiment: Experiment) -> Ramp | None:
    analysis = experiment.analysis
    assert analysis is not None
    if not analysis.ramp:
        return None
    if units.frame[FIRST].null_count():
        raise DataError("analysis.ramp: needs `analysis.log.time`, which says when units came")
    zone = _zone(experiment)
    began = tuple(
        moment(stage.until, zone, f"analysis.ramp.{place}.until")
        for place, stage in enumerate(analysis.ramp)
    )
    for place, (one, other) in enumerate(pairwise(began)):
        if one >= other:
            raise DataError(
                f"analysis.ramp.{place + 1}.until: {analysis.ramp[place + 1].until} is not after "
                f"{analysis.ramp[place].until}; expected stages in order"
            )
    final = {name: arm.share for name, arm in experiment.arms.items()}
    return Ramp(began, (*(stage.shares for stage in analysis.ramp), final), declared=True)


def _found(units: Units, experiment: Experiment) -> Ramp | None:
    if units.frame[FIRST].null_count() or CLUSTER in units.frame.columns:
        return None
    arms = list(experiment.arms)
    table = (
        units.frame.group_by(CAME)
        .agg((pl.col(ARM) == arm).sum().alias(arm) for arm in arms)
        .sort(CAME)
    )
    counts = table.select(arms).to_numpy()
    places = strata.changes(counts)
    if not 0 < len(places) <= MOST:
        return None
    periods = [part.sum(axis=0) for part in np.split(counts, places)]
    if min(part.min() for part in periods) == 0:
        return None
    shares = [dict(zip(arms, (part / part.sum()).tolist(), strict=True)) for part in periods]
    falls = all(
        one[experiment.control] > other[experiment.control] for one, other in pairwise(shares)
    )
    last = dict(zip(arms, periods[-1].tolist(), strict=True))
    final = {name: arm.share for name, arm in experiment.arms.items()}
    if not (falls and sample_ratio.check(last, final).holds):
        return None
    days = table[CAME].to_numpy()
    began = tuple(_midnight(int(days[place]), _zone(experiment)) for place in places)
    return Ramp(began, tuple(shares), declared=False)


def _zone(experiment: Experiment) -> str:
    assert experiment.analysis is not None
    config = experiment.analysis.log.time
    return "UTC" if config is None else config.zone


def _midnight(day: int, zone: str) -> int:
    """Microseconds since 1970 at which a day begins by the clocks of a zone; days as
    `units.day` counts them."""
    begins = datetime.combine(date(1970, 1, 1) + timedelta(day), time.min, ZoneInfo(zone))
    return int(begins.astimezone(UTC).timestamp()) * 1_000_000
