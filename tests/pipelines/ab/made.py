"""Units of tests made directly, without a log: for tests that need many of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.time import TimeConfig
from fulcrum.pipelines.ab.analysis.analyse import of_units
from fulcrum.pipelines.ab.analysis.facts import Facts
from fulcrum.pipelines.ab.log.columns import ARM, INSTANCE, UNIT, segment
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.staged import Log
from fulcrum.pipelines.ab.log.units import CAME, DAY, FIRST, LAST, ROWS, Units
from fulcrum.pipelines.ab.metrics.columns import before as old
from fulcrum.pipelines.ab.metrics.columns import denominator, numerator

BEGAN = int(datetime(2024, 3, 4, tzinfo=UTC).timestamp() * 1e6)
LENGTH = 7
"""Days."""
LOG = Log(Path(), DataConfig(events="", time=TimeConfig(column="time")), 0, None, None)


def test_of(metrics: Mapping[str, Mapping[str, Any]], arms: int = 2, **analysis: Any) -> Experiment:
    """Control and treatments `b`, `c`, ... of equal shares; every metric is a mean of the column of
    its name."""
    names = ["control", *"bcdefg"][:arms]
    return Experiment.model_validate(
        {
            "name": "made",
            "arms": {name: {"share": 1 / arms} for name in names},
            "analysis": {
                "log": {"time": {"column": "time"}},
                "metrics": {
                    name: {"kind": "mean", "value": name, **metric}
                    for name, metric in metrics.items()
                },
                **analysis,
            },
        }
    )


test_of.__test__ = False  # type: ignore[attr-defined]


def dealt(experiment: Experiment, users: int, rng: np.random.Generator) -> np.ndarray:
    """`(users,)` names of arms, as many of each, in random order."""
    return rng.permutation(np.resize(np.array(list(experiment.arms)), users))


def units(
    experiment: Experiment,
    arm: np.ndarray,
    totals: Mapping[str, np.ndarray],
    before: Mapping[str, np.ndarray] | None = None,
    missing: np.ndarray | None = None,
    instance: np.ndarray | None = None,
    segments: Mapping[str, np.ndarray] | None = None,
    days: float = LENGTH,
) -> Units:
    """One row a unit and one unit a row, evenly over the days in the order of the arrays."""
    assert experiment.analysis is not None
    count = len(arm)
    time = (BEGAN + np.linspace(0, days * DAY - 1, count)).astype(np.int64)
    unknown = pl.Series([None] * count, dtype=pl.Float64)
    past = {}
    for name in totals if before is not None else ():
        assert before is not None
        values = pl.Series(before.get(name, unknown))
        past[old(numerator(name))] = values
        past[old(denominator(name))] = values * 0.0 + 1.0
    frame = pl.DataFrame(
        {
            UNIT: [f"u{n}" for n in range(count)],
            ARM: arm,
            INSTANCE: pl.Series(instance, dtype=pl.String)
            if instance is not None
            else pl.Series([None] * count, dtype=pl.String),
            FIRST: time,
            LAST: time,
            ROWS: np.ones(count, dtype=np.int64),
            CAME: time // DAY,
            **{numerator(name): values.astype(float) for name, values in totals.items()},
            **{denominator(name): np.ones(count) for name in totals},
            **{
                f"missing.{name}": np.zeros(count, dtype=np.int64) if missing is None else missing
                for name in totals
            },
            **past,
            **{segment(name): values for name, values in (segments or {}).items()},
        }
    )
    counts = dict(frame.group_by(ARM).len().sort(ARM).iter_rows())
    return Units(
        frame=frame,
        daily=frame.rename({CAME: "day"}).select(
            UNIT, "day", ARM, *map(numerator, totals), *map(denominator, totals)
        ),
        retrained={},
        test=frame.lazy(),
        logged=None,
        metrics=experiment.analysis.metrics,
        has_past=before is not None,
        assigned=None,
        dealt={name: counts.get(name, 0) for name in experiment.arms},
        crossed=0,
        waiting={},
        rows=count,
        repeated=0,
        nobody=0,
        outside=0,
        filtered=0,
        before=count if before is not None else 0,
        began=datetime.fromtimestamp(time[0] / 1e6, UTC),
        ended=datetime.fromtimestamp(time[-1] / 1e6, UTC),
    )


def analysed(made: Units, experiment: Experiment) -> Facts:
    """What is found in them."""
    return of_units(made, LOG, experiment, Path())
