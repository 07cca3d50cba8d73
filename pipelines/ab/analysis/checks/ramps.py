"""Did the arms' shares change while the test ran?"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError, listed
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import interval, percent
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import PERIOD, Ramp, Units
from fulcrum.pipelines.ab.statistics import effects


def ramp(units: Units, experiment: Experiment) -> Iterator[Check]:
    """The periods of constant shares, and the primary metric's effect in each. A doubt where they
    are not declared: units that one arm loses for some days look the same."""
    if units.ramp is None:
        return
    declared = units.ramp.declared
    unsaid = (
        ""
        if declared
        else " No `analysis.ramp` declares them: do so if they were meant; if not, find out which "
        "units are missing."
    )
    yield Check(
        "constant shares",
        declared,
        False,
        f"The shares of units changed: {_periods(units.ramp, experiment)}. Units are held against "
        "those that came under the same shares, and effects are means over these periods; all "
        f"units together would compare days. {' '.join(_by_period(units, experiment))}{unsaid}",
        {
            f"share.{number}.{arm}": share
            for number, shares in enumerate(units.ramp.shares)
            for arm, share in shares.items()
        },
    )


def _periods(periods: Ramp, experiment: Experiment) -> str:
    moments = [str(np.datetime64(began, "us").astype("datetime64[s]")) for began in periods.began]
    when = [f"until {moments[0]}", *(f"from {moment}" for moment in moments)]
    treatments = [arm for arm in experiment.arms if arm != experiment.control]
    return "; ".join(
        f"{listed([f'{percent(shares[arm], sign=False)} in {arm}' for arm in treatments])} {words}"
        for shares, words in zip(periods.shares, when, strict=True)
    )


def _by_period(units: Units, experiment: Experiment) -> Iterator[str]:
    assert units.ramp is not None and experiment.analysis is not None
    primary = next(n for n, m in experiment.analysis.metrics.items() if m.role == "primary")
    alpha = experiment.analysis.alpha
    for number in range(len(units.ramp.shares)):
        part = pl.col(PERIOD) == number
        for arm in (arm for arm in experiment.arms if arm != experiment.control):
            sides = [units.arm(side).filter(part) for side in (experiment.control, arm)]
            try:
                pair = [units.users(primary, side) for side in sides]
                effect = effects.compare(pair[0], pair[1], alpha)
            except DataError:
                continue
            yield f"Period {number + 1}, {primary} of {arm}: {interval(effect, alpha)}."
