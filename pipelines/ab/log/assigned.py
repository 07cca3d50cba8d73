"""Who was dealt to which arm, whether or not anything was shown to them."""

from pathlib import Path

import polars as pl

from fulcrum.features.errors import DataError, nearest
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import scan
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.values.text import key_text
from fulcrum.pipelines.ab.log.columns import ARM, INSTANCE, TIME, UNIT
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.serving.experiments.exposure_log import read_assignments

DEALT = "test.dealt"
"""Of a row: when its unit was dealt."""


def served(log: Path) -> pl.LazyFrame:
    """What the service logged, with the columns `UNIT`, `ARM`, `TIME` and `INSTANCE`."""
    return read_assignments(log).select(
        pl.col("unit").alias(UNIT),
        pl.col("arm").alias(ARM),
        pl.col("time").dt.epoch("us").alias(TIME),
        pl.col("instance").cast(pl.String).alias(INSTANCE),
    )


def table(experiment: Experiment) -> pl.LazyFrame:
    """The table that the experiment names, with the columns `UNIT`, `ARM` and `TIME`.

    Raises DataError for what is missing or unreadable, for an arm that the experiment does not name
    and for a unit that has no time where others have."""
    assert experiment.analysis is not None and experiment.analysis.log.assignments is not None
    config, place = experiment.analysis.log.assignments, "analysis.log.assignments"
    unit = config.unit or experiment.unit
    assert unit is not None
    time = config.time
    numbers = frozenset(() if time is None else (time.column,))
    reads = Reads(ids=frozenset((unit, config.arm)), numbers=numbers, time=time, whole=False)
    source = scan(config.path, f"{place}.path", reads)
    for key, column in (("unit", unit), ("arm", config.arm), *(("time", n) for n in numbers)):
        if column not in source.schema:
            hint = nearest(column, source.schema)
            raise DataError(f"{place}.{key}: there is no column `{column}`{hint}")
    when = pl.lit(None, pl.Int64)
    if time is not None:
        when = microseconds(time, source.schema[time.column])
    names = ((unit, UNIT), (config.arm, ARM))
    words = [key_text(pl.col(name), source.schema[name]).alias(as_) for name, as_ in names]
    rows = source.frame.select(*words, when.alias(TIME)).drop_nulls([UNIT, ARM])
    _check(rows, experiment, place)
    return rows


def _check(rows: pl.LazyFrame, experiment: Experiment, place: str) -> None:
    assert experiment.analysis is not None
    arms = rows.group_by(ARM).agg(pl.len(), pl.col(TIME).null_count()).sort(ARM).collect()
    for arm, _, lost in arms.iter_rows():
        if arm not in experiment.arms:
            raise DataError(
                f"{place}: there is an arm `{arm}` that the experiment does not name; expected one "
                f"of {', '.join(experiment.arms)}{nearest(arm, experiment.arms)}"
            )
        if experiment.analysis.log.time is not None and lost:
            raise DataError(
                f"{place}.time: {lost} units of arm `{arm}` have no time; expected when each was "
                "dealt"
            )


def with_arms(rows: pl.LazyFrame, assignments: pl.LazyFrame) -> pl.LazyFrame:
    """Rows with the arm of their unit, null before it was dealt and where it never was. A unit that
    was dealt several times has the first of its arms."""
    first = (
        assignments.sort(TIME, ARM)
        .unique(UNIT, keep="first", maintain_order=True)
        .select(UNIT, ARM, pl.col(TIME).alias(DEALT))
    )
    early = (pl.col(TIME) < pl.col(DEALT)).fill_null(False)
    return (
        rows.drop(ARM)
        .join(first, on=UNIT, how="left")
        .with_columns(pl.when(~early).then(ARM).alias(ARM))
        .drop(DEALT)
    )
