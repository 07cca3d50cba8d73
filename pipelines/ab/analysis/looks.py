"""The effect after each unit, as it is judged: the path behind every always-valid interval."""

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.log.columns import ARM
from fulcrum.pipelines.ab.log.comparisons import Pair
from fulcrum.pipelines.ab.log.units import FIRST, Units
from fulcrum.pipelines.ab.statistics import cuped, sequential
from fulcrum.pipelines.ab.statistics.cuped import Adjusted
from fulcrum.pipelines.ab.statistics.sequential import SamplePath
from fulcrum.pipelines.ab.statistics.users import Users


def path(units: Units, metric: str, pair: Pair) -> SamplePath:
    """The second arm of a pair against the first, less what the pre-period explains where there is
    one (by the theta of all units).

    A log without times does not say in which order units came: its path is the last look alone,
    which holds as well. Raises DataError below `sequential.FEWEST` units of an arm.
    """
    both = units.entries(metric, units.frame.filter(pl.col(ARM).is_in(pair)))
    treated = (both[ARM] == pair[1]).to_numpy()
    users = units.users(metric, both)
    arms = [units.users(metric, both.filter(chosen)) for chosen in (~treated, treated)]
    less = adjusted(units, *arms)
    if less is not None:
        values = np.empty(len(both))
        values[~treated], values[treated] = less.control.numerator, less.treatment.numerator
        users = Users(values, np.ones(len(both)))
    whole = sequential.sample_path(users, treated)
    return whole.end if units.frame[FIRST].null_count() else whole


def adjusted(units: Units, control: Users, treatment: Users) -> Adjusted | None:
    """Both arms, less what the pre-period explains; None without one, or where no unit has a
    history."""
    if not units.has_past:
        return None
    try:
        return cuped.adjust(control, treatment)
    except DataError:
        return None
