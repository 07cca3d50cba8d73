"""Labels: per task the value to predict and whether it is observed."""

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks import TaskConfig
from fulcrum.features.values import sql

Schema = Mapping[str, pl.DataType]
Tasks = Mapping[str, TaskConfig]


def label_names(tasks: Tasks) -> list[str]:
    """Names (`fulcrum.features.raw.lineage`) that the labels are made of."""
    texts = [t for task in tasks.values() for t in (task.label, task.when) if t is not None]
    return [sql.value(t) for t in dict.fromkeys(texts)]


def label_columns(
    tasks: Tasks, schema: Schema, ripe: Mapping[str, pl.Expr] = MappingProxyType({})
) -> list[pl.Expr]:
    """`label.<task>` Float32 and `observed.<task>` Boolean, over rows with `label_names`.

    A label is the class index for multi-class tasks, and 0 where it is not observed: where it is
    null or `when` is not true, and where it is not `ripe` for a task that is there.
    """
    columns = []
    for name, task in tasks.items():
        observed = _observed(task) & ripe.get(name, pl.lit(True))
        value = _value(name, task, schema).cast(pl.Float32)
        label = pl.when(observed).then(value).fill_null(0.0)
        columns += [label.alias(f"label.{name}"), observed.alias(f"observed.{name}")]
    return columns


def check_labels(rows: pl.LazyFrame, tasks: Tasks, schema: Schema) -> None:
    """Raises DataError when an observed label is no value of its task's kind."""
    examples = rows.select(
        _raw(task).filter(_observed(task) & ~_valid(name, task, schema)).first().alias(name)
        for name, task in tasks.items()
    ).collect()
    for name, task in tasks.items():
        if examples[name][0] is not None:
            raise DataError(
                f"tasks.{name}.label: `{task.label}` gives {examples[name][0]!r}; expected "
                f"{task.expected} (or null where it is not observed)"
            )


def describe(rows: pl.LazyFrame, tasks: Tasks) -> tuple[TaskSpec, ...]:
    """The tasks with the facts of the training labels, over rows with `label_columns`."""
    # In one chunk: how rows are split must not decide the last bit.
    facts = (
        rows.collect()
        .rechunk()
        .select(
            fact.alias(f"{name}.{kind}")
            for name, task in tasks.items()
            for kind, fact in _facts(name, task).items()
        )
    )
    return tuple(
        task.spec(name, {kind: facts[f"{name}.{kind}"][0] for kind in _facts(name, task)})
        for name, task in tasks.items()
    )


def _raw(task: TaskConfig) -> pl.Expr:
    return pl.col(sql.value(task.label))


def _observed(task: TaskConfig) -> pl.Expr:
    present = _raw(task).is_not_null()
    if task.when is None:
        return present
    return present & pl.col(sql.value(task.when)).cast(pl.Boolean).fill_null(False)


def _value(name: str, task: TaskConfig, schema: Schema) -> pl.Expr:
    """Float64; null where the label is no value of the task's kind."""
    dtype = schema[sql.value(task.label)]
    value = task.value(_raw(task), dtype)
    if value is None:
        raise DataError(
            f"tasks.{name}.label: `{task.label}` is {dtype}; expected {task.expected}, for "
            "example from a comparison (`... = 'yes'`) or CAST(... AS DOUBLE)"
        )
    return value


def _valid(name: str, task: TaskConfig, schema: Schema) -> pl.Expr:
    """Whether the label is a value of the task's kind, also in the type in which it is kept."""
    value = _value(name, task, schema)
    return task.valid(value) & task.valid(value.cast(pl.Float32).cast(pl.Float64))


def _facts(name: str, task: TaskConfig) -> dict[str, pl.Expr]:
    return task.facts(pl.col(f"label.{name}").filter(pl.col(f"observed.{name}")).cast(pl.Float64))
