"""A long log made one row per impression, with a column and a time for each behaviour.

The log is in any order. A behaviour belongs to the latest impression of the same `by` at or before
it, if that is no longer ago than `within`; several impressions of one moment share it. So nothing
that comes later moves a behaviour to another impression.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.pivot import AT, BehaviourConfig, PivotConfig
from fulcrum.features.errors import DataError, listed, nearest
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.values.text import is_id, key_text

ACTION, MOMENT, SINCE = "row.action", "row.moment", "row.since"
"""While it runs: what happened, when (microseconds; null for nobody), and when its impression
was."""
SHOWN = 5
"""Values of a column in a message."""

Schema = Mapping[str, pl.DataType]


class Pivoted(NamedTuple):
    """What became of a log."""

    rows: pl.LazyFrame
    """The impressions in the order of the log: its columns, then those of `columns`. A behaviour is
    1 or 0, or its `value`; that and the time are null where it did not follow. It is null, too,
    where a column of `by` names nobody."""
    joined: int
    """Behaviours that belong to one of them."""


def columns(data: DataConfig, log: Schema) -> dict[str, pl.DataType]:
    """What rows get beside the columns of their log."""
    types: dict[str, pl.DataType] = {}
    if data.pivot is not None and data.time is not None:
        for name, behaviour in data.pivot.behaviours.items():
            types[name] = pl.Int64() if behaviour.value is None else log[behaviour.value]
            types[name + AT] = log[data.time.column]
    return types


def impressions(log: pl.LazyFrame, config: PivotConfig) -> pl.LazyFrame:
    """Those of a log's rows."""
    return log.filter(_action(log, config).is_in(config.impression))


def relevant(log: pl.LazyFrame, config: PivotConfig) -> pl.LazyFrame:
    """Impressions and behaviours, with `ACTION`."""
    known = [*config.impression, *(a for b in config.behaviours.values() for a in b.action)]
    action = _action(log, config).alias(ACTION)
    return log.with_columns(action).filter(pl.col(ACTION).is_in(known))


def pivot(log: pl.LazyFrame, data: DataConfig, wanted: Collection[str] | None = None) -> Pivoted:
    """One row per impression of a log with the columns that `data.pivot` reads. The log is read
    when this is called, and all behaviours are in memory, but not the impressions. Behaviours of
    which no column is `wanted` are left out."""
    config, time, schema = data.pivot, data.time, log.collect_schema()
    assert config is not None
    assert time is not None
    somebody = pl.all_horizontal(key_text(pl.col(c), schema[c]).is_not_null() for c in config.by)
    moment = pl.when(somebody).then(microseconds(time, schema[time.column]))
    events = relevant(log, config).with_columns(moment.alias(MOMENT))
    behaviours = _joined(events, config, time.column)
    rows = events.filter(pl.col(ACTION).is_in(config.impression))
    types = columns(data, schema)
    for name, behaviour in config.behaviours.items():
        if wanted is not None and not {name, name + AT} & {*wanted}:
            del types[name], types[name + AT]
            continue
        first = _in_order(behaviours, name, behaviour, time.column).unique(
            [*config.by, SINCE], keep="first", maintain_order=True
        )
        first = first.select(*config.by, pl.col(SINCE).alias(MOMENT), name, name + AT)
        rows = rows.join(first.lazy(), [*config.by, MOMENT], "left", maintain_order="left")
        if behaviour.value is None:
            rows = rows.with_columns(pl.when(somebody).then(pl.col(name).fill_null(0)).alias(name))
    return Pivoted(rows.select(*schema, *types), len(behaviours))


def _action(log: pl.LazyFrame, config: PivotConfig) -> pl.Expr:
    return key_text(pl.col(config.action), log.collect_schema()[config.action])


def _joined(events: pl.LazyFrame, config: PivotConfig, time: str) -> pl.DataFrame:
    """The behaviours of impressions, with when these were (`SINCE`)."""
    values = [one.value for one in config.behaviours.values() if one.value is not None]
    is_impression = pl.col(ACTION).is_in(config.impression)
    events = events.filter(pl.col(MOMENT).is_not_null())
    events = events.select(*dict.fromkeys((*config.by, time, *values)), ACTION, MOMENT)
    behaviours = events.filter(~is_impression).collect(engine="streaming")
    offered = (
        events.filter(is_impression)
        .select(*config.by, MOMENT, pl.col(MOMENT).alias(SINCE))
        .join(behaviours.lazy().select(config.by).unique(), config.by, "semi")
        .unique()
        .collect(engine="streaming")
    )
    return (
        behaviours.sort(MOMENT)
        .join_asof(
            offered.sort(MOMENT),
            on=MOMENT,
            by=config.by,
            tolerance=config.microseconds,
            check_sortedness=False,
        )
        .filter(pl.col(SINCE).is_not_null())
    )


def _in_order(
    behaviours: pl.DataFrame, name: str, behaviour: BehaviourConfig, time: str
) -> pl.DataFrame:
    """Those of one name by time, the greatest of a moment first, with the columns that rows get."""
    value = pl.lit(1, pl.Int64)
    if behaviour.value is not None:
        floats = behaviours.schema[behaviour.value].is_float()
        value = pl.col(behaviour.value).fill_nan(None) if floats else pl.col(behaviour.value)
    return (
        behaviours.filter(pl.col(ACTION).is_in(behaviour.action))
        .with_columns(value.alias(name), pl.col(time).alias(name + AT))
        .filter(pl.col(name).is_not_null())
        .sort(MOMENT, name, name + AT, descending=[False, True, False])
    )


def check(log: pl.LazyFrame, data: DataConfig) -> None:
    """Raises DataError for columns that the log lacks or has already, and for actions that never
    occur in it."""
    config, time, schema = data.pivot, data.time, log.collect_schema()
    assert config is not None
    assert time is not None
    places = {("pivot", *path): column for path, column in config.places()}
    for path, column in {**places, ("time", "column"): time.column}.items():
        place = ".".join(map(str, ("data", *path)))
        if column not in schema:
            hint = nearest(column, schema)
            raise DataError(f"{place}: there is no column `{column}` in the events{hint}")
        dtype = schema[column]
        is_number = path[-1] == "value"
        # What a time may be, `microseconds` says.
        if path in places and not (dtype.is_numeric() if is_number else is_id(dtype)):
            expected = "numbers" if is_number else "ids"
            raise DataError(f"{place}: column `{column}` is {dtype}; expected {expected}")
    for column in config.columns:
        if column in schema:
            name = column if column in config.behaviours else column.removesuffix(AT)
            place = f"data.pivot.behaviours.{name}"
            raise DataError(f"{place}: `{column}` is already a column; rename the behaviour")
    _check_actions(log, config)


def _check_actions(log: pl.LazyFrame, config: PivotConfig) -> None:
    there = (
        log.select(_action(log, config).unique().sort())
        .collect(engine="streaming")
        .to_series()
        .drop_nulls()
        .to_list()
    )
    declared = {f"behaviours.{name}": one.action for name, one in config.behaviours.items()}
    for place, names in {"impression": config.impression, **declared}.items():
        for name in names:
            if name not in there:
                some = f"; there is {listed([f'`{value}`' for value in there[:SHOWN]])}"
                hint = nearest(name, there) or some
                raise DataError(
                    f"data.pivot.{place}: no row has `{name}` in `{config.action}`{hint}"
                )
