"""The log of the service, and files from before the test beside it."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from fulcrum.features.errors import DataError, nearest
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import scan
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.values.text import key_text
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig
from fulcrum.serving.experiments.exposure_log import read_log

SERVED = "exposures"
"""The folder that tells a log that the service wrote from other files."""
UNIT = "unit"
"""The service's name for who was dealt, whatever the experiment calls it."""


def find(logs: Sequence[str]) -> Path | None:
    """The log of the service among some logs."""
    return next((Path(log) for log in logs if Path(log, SERVED).is_dir()), None)


def rows(
    served: Path, logs: Sequence[str], unit: str, analysis: AnalysisConfig, read: Reads
) -> pl.LazyFrame:
    """What the service logged, and what the other logs have in the same columns: rows of no arm,
    from before the test, whose unit is called `unit`.

    Raises DataError for a second log of the service, and for files where no pre-period is declared.
    """
    events = read_log(served)
    past = [log for log in logs if Path(log) != served]
    if not past:
        return events
    if find(past) is not None or analysis.pre_period is None:
        raise DataError(
            f"{served} is a log of the service; expected it alone, not {len(logs)}, or beside it "
            "rows from before the test, which `analysis.pre_period` declares"
        )
    assert analysis.log.time is not None
    time = analysis.log.time
    source = scan(past, "the pre-period", read, analysis.log.csv)
    for place, name in (("unit", unit), ("analysis.log.time.column", time.column)):
        if name not in source.schema:
            hint = nearest(name, source.schema)
            raise DataError(f"the pre-period: {place}: there is no column `{name}`{hint}")
    instant = microseconds(time, source.schema[time.column])
    earlier = source.frame.with_columns(
        key_text(pl.col(unit), source.schema[unit]).alias(UNIT),
        instant.cast(pl.Datetime("us", "UTC")).alias(time.column),
        pl.lit(None, pl.String).alias(analysis.log.arm),
    )
    names = set(events.collect_schema()) & set(earlier.collect_schema())
    both = [events, earlier.select(name for name in earlier.collect_schema() if name in names)]
    return pl.concat(both, how="diagonal_relaxed")
