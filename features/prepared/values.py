"""Whether staged rows hold what training needs: times, weights, arms and labels."""

from collections.abc import Mapping, Sequence

import polars as pl

from fulcrum.features.declared.arms import check_arms
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.split import TIME
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.instant import check_times, microseconds
from fulcrum.features.raw.known import known_times
from fulcrum.features.raw.label import check_labels, label_names
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.spec import FeatureSpec


def check_values(
    rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage, tables: Mapping[str, pl.LazyFrame]
) -> None:
    """Raises DataError for a value that is none of its kind, with an example."""
    _check_times(rows, spec, lineage, tables)
    _check_weights(rows, spec.data)
    if spec.data.arms is not None:
        check_arms(rows, spec.data.arms)
    names = label_names(spec.tasks)
    raw = _with_columns(rows, names, spec, lineage, tables)
    check_labels(raw, spec.tasks, {name: lineage.dtype(name) for name in names})


def _check_times(
    rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage, tables: Mapping[str, pl.LazyFrame]
) -> None:
    time = spec.data.time
    if time is None:
        return
    without = rows.filter(pl.col(TIME).is_null())
    raw = _with_columns(without, [time.column], spec, lineage, tables)
    dtype = lineage.dtype(time.column)
    refuse_untimed(raw.with_columns(microseconds(time, dtype).alias(TIME)), time, dtype)
    # The times of `data.pivot` are those of rows, and were looked at before.
    for name in (name for name in spec.data.late if name in spec.data.outcomes):
        for late in known_times([name], spec.data):
            raw = _with_columns(rows, [late.column], spec, lineage, tables)
            dtype = lineage.dtype(late.column)
            timed = raw.with_columns(microseconds(late, dtype).alias(TIME))
            check_times(timed, TIME, late, dtype, f"data.outcomes.{name}.known_at")


def refuse_untimed(rows: pl.LazyFrame, time: TimeConfig, dtype: pl.DataType) -> None:
    """Raises DataError for rows without a time or with one that is none."""
    count = rows.filter(pl.col(TIME).is_null()).select(pl.len()).collect().item()
    if count:
        check_times(rows, TIME, time, dtype, "data.events")
        raise DataError(
            f"data.time.column: {count} rows have no time in `{time.column}`, for example null "
            "(`data.derive` can make one, `data.where` can leave rows out)"
        )


def _check_weights(rows: pl.LazyFrame, data: DataConfig) -> None:
    weight = pl.col("row.weight")
    bad = (
        rows.select((~(weight.is_finite() & (weight >= 0))).fill_null(True).sum()).collect().item()
    )
    if bad:
        raise DataError(
            f"data.weight: `{data.weight}` is null, negative or no finite Float32 in {bad} rows"
        )
    if data.weight is not None and not rows.select((weight > 0).any()).collect().item():
        raise DataError(f"data.weight: `{data.weight}` is 0 in every row")


def _with_columns(
    rows: pl.LazyFrame,
    names: Sequence[str],
    spec: FeatureSpec,
    lineage: Lineage,
    tables: Mapping[str, pl.LazyFrame],
) -> pl.LazyFrame:
    """Staged rows with the columns that some names stand for."""
    needs = lineage.needs(names)
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    return complete(rows.select(*needs.columns), needs, spec.data, side_tables)
