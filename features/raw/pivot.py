"""A long log made one row per impression, with a column and a time for each behaviour.

The log is in any order. A behaviour belongs to the latest impression of the same `by` at or before
it, if that is no longer ago than `within`; several impressions of one moment share it. So nothing
that comes later moves a behaviour to another impression.
"""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.pivot import AT, BehaviourConfig, PivotConfig
from fulcrum.features.errors import DataError, nearest
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
    others: dict[str, int]
    """Number of rows that are no impressions, by what they are."""


def columns(data: DataConfig, log: Schema) -> dict[str, pl.DataType]:
    """What rows get beside the columns of their log."""
    types: dict[str, pl.DataType] = {}
    if data.pivot is not None and data.time is not None:
        for name, behaviour in data.pivot.behaviours.items():
            types[name] = pl.Int64() if behaviour.value is None else log[behaviour.value]
            types[name + AT] = log[data.time.column]
    return types


def relevant(log: pl.LazyFrame, config: PivotConfig) -> pl.LazyFrame:
    """Impressions and behaviours, with `ACTION`."""
    action = key_text(pl.col(config.action), log.collect_schema()[config.action])
    known = [*config.impression, *(a for b in config.behaviours.values() for a in b.action)]
    return log.with_columns(action.alias(ACTION)).filter(pl.col(ACTION).is_in(known))


def pivot(log: pl.LazyFrame, data: DataConfig) -> Pivoted:
    """One row per impression of a log with the columns that `data.pivot` reads. The log is read
    when this is called, and all behaviours are in memory, but not the impressions."""
    config, time, schema = data.pivot, data.time, log.collect_schema()
    assert config is not None
    assert time is not None
    somebody = pl.all_horizontal(key_text(pl.col(c), schema[c]).is_not_null() for c in config.by)
    moment = pl.when(somebody).then(microseconds(time, schema[time.column]))
    events = relevant(log, config).with_columns(moment.alias(MOMENT))
    is_impression = pl.col(ACTION).is_in(config.impression)
    rows, behaviours = events.filter(is_impression), _tied(events, is_impression, config)
    for name, behaviour in config.behaviours.items():
        first = _in_order(behaviours, name, behaviour, time.column).unique(
            [*config.by, SINCE], keep="first", maintain_order=True
        )
        first = first.select(*config.by, pl.col(SINCE).alias(MOMENT), name, name + AT)
        rows = rows.join(first.lazy(), [*config.by, MOMENT], "left", maintain_order="left")
        if behaviour.value is None:
            rows = rows.with_columns(pl.when(somebody).then(pl.col(name).fill_null(0)).alias(name))
    total, known, impressions = (
        frame.select(pl.len()).collect(engine="streaming").item()
        for frame in (log, events, events.filter(is_impression))
    )
    of_one = len(behaviours) - behaviours[SINCE].null_count()
    return Pivoted(
        rows.select(*schema, *columns(data, schema)),
        {
            "behaviours of an impression": of_one,
            "behaviours without one": known - impressions - of_one,
            "other actions": total - known,
        },
    )


def _tied(events: pl.LazyFrame, is_impression: pl.Expr, config: PivotConfig) -> pl.DataFrame:
    """The behaviours by time, with `SINCE`, null where there is no impression."""
    timed = events.filter(pl.col(MOMENT).is_not_null())
    behaviours = timed.filter(~is_impression).collect(engine="streaming").sort(MOMENT)
    impressions = (
        timed.filter(is_impression)
        .select(*config.by, MOMENT, pl.col(MOMENT).alias(SINCE))
        .join(behaviours.lazy().select(config.by).unique(), config.by, "semi")
        .unique()
        .collect(engine="streaming")
    )
    return behaviours.join_asof(
        impressions.sort(MOMENT),
        on=MOMENT,
        by=config.by,
        tolerance=config.microseconds,
        check_sortedness=False,
    )


def _in_order(
    behaviours: pl.DataFrame, name: str, behaviour: BehaviourConfig, time: str
) -> pl.DataFrame:
    """Those of one name that belong to an impression, by time, and the greatest of a moment first,
    with the two columns that rows get."""
    value = pl.lit(1, pl.Int64)
    if behaviour.value is not None:
        floats = behaviours.schema[behaviour.value].is_float()
        value = pl.col(behaviour.value).fill_nan(None) if floats else pl.col(behaviour.value)
    return (
        behaviours.filter(pl.col(ACTION).is_in(behaviour.action) & pl.col(SINCE).is_not_null())
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
        if not (dtype.is_numeric() if is_number else is_id(dtype)):
            expected = "numbers" if is_number else "ids"
            raise DataError(f"{place}: column `{column}` is {dtype}; expected {expected}")
    for name in config.behaviours:
        for column in {name, name + AT} & schema.keys():
            raise DataError(
                f"data.pivot.behaviours.{name}: `{column}` is already a column; rename the behaviour"
            )
    _check_actions(log, config)


def _check_actions(log: pl.LazyFrame, config: PivotConfig) -> None:
    action = key_text(pl.col(config.action), log.collect_schema()[config.action]).unique()
    there = log.select(action.sort()).collect(engine="streaming").to_series().drop_nulls().to_list()
    declared = {f"behaviours.{name}": one.action for name, one in config.behaviours.items()}
    for place, names in {"impression": config.impression, **declared}.items():
        for name in set(names) - set(there):
            some = ", ".join(f"`{value}`" for value in there[:SHOWN])
            raise DataError(
                f"data.pivot.{place}: no row has `{name}` in `{config.action}`"
                f"{nearest(name, there) or f'; there are {some}'}"
            )
