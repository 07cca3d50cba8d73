"""Do a few units carry an arm's rows? A ratio is then theirs, whatever its interval says."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from fulcrum.features.errors import listed
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import percent
from fulcrum.pipelines.ab.log.columns import UNIT
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.units import ROWS, Units

MUCH = 0.1
"""Share of an arm's rows that one unit may have, if that is not `TIMES` the share of a mean one."""
TIMES = 10
BUSIEST = 0.01
"""Share of units, those with most rows, of which is told how many rows they have."""


def concentration(units: Units, experiment: Experiment) -> Iterator[Check]:
    """One unit with much of an arm's rows is a doubt: most often it is a placeholder (`anonymous`,
    0) behind which many people stand, or a robot. How many rows the busiest have, and how many
    units have one row alone, is told: heavy use is honest, and so are passers-by."""
    if experiment.unit is None:
        return
    wrong, told = [], []
    numbers: dict[str, float] = {}
    for arm in experiment.arms:
        frame = units.arm(arm)
        if frame.is_empty():
            continue
        rows = np.sort(frame[ROWS].to_numpy())[::-1].astype(float)
        largest = float(rows[0] / rows.sum())
        head = float(rows[: max(1, round(BUSIEST * len(rows)))].sum() / rows.sum())
        numbers |= {f"largest.{arm}": largest, f"busiest.{arm}": head}
        numbers[f"one_row.{arm}"] = float((rows == 1).mean())
        if largest > max(MUCH, TIMES / len(rows)):
            name = frame.filter(pl.col(ROWS) == pl.col(ROWS).max())[UNIT][0]
            wrong.append(f"unit {name!r} has {percent(largest, sign=False)} of the rows of {arm}")
        told.append(f"{percent(head, sign=False)} in {arm}")
    verdict = "no unit carries an arm"
    if wrong:
        verdict = (
            f"{listed(wrong)}, so that a ratio is what that unit does: if it stands for many "
            "people, or for a robot, leave it out by `analysis.log.where`"
        )
    yield Check(
        "rows by unit",
        not wrong,
        False,
        f"The busiest {percent(BUSIEST, sign=False)} of units have {listed(told)} of the rows: "
        f"{verdict}.",
        numbers,
    )
