"""Labels: per task the value to predict and whether it is observed."""

from collections.abc import Mapping

import polars as pl

from fulcrum.features.declared.task import TaskConfig
from fulcrum.features.errors import DataError
from fulcrum.features.layout import TaskSpec
from fulcrum.features.values import sql
from fulcrum.features.values.text import text

Schema = Mapping[str, pl.DataType]
Tasks = Mapping[str, TaskConfig]


def label_names(tasks: Tasks) -> list[str]:
    """Names (`fulcrum.features.raw.lineage`) that the labels are made of."""
    texts = [t for task in tasks.values() for t in (task.label, task.when) if t is not None]
    return [sql.value(t) for t in dict.fromkeys(texts)]


def label_columns(tasks: Tasks, schema: Schema) -> list[pl.Expr]:
    """`label.<task>` Float32 and `observed.<task>` Boolean, over rows with `label_names`.

    A label is the class index for multi-class tasks, and 0 where it is not observed: where it is
    null or `when` is not true.
    """
    columns = []
    for name, task in tasks.items():
        observed = _observed(task)
        value = _value(name, task, schema).cast(pl.Float32)
        label = pl.when(observed).then(value).fill_null(0.0)
        columns += [label.alias(f"label.{name}"), observed.alias(f"observed.{name}")]
    return columns


def check_labels(rows: pl.LazyFrame, tasks: Tasks, schema: Schema) -> None:
    """Raises DataError when an observed label is no value of its task's kind."""
    found = rows.select(
        _given(task).filter(_observed(task) & ~_valid(name, task, schema)).first().alias(name)
        for name, task in tasks.items()
    ).collect()
    for name, task in tasks.items():
        if found[name][0] is not None:
            raise DataError(
                f"tasks.{name}.label: `{task.label}` gives {found[name][0]!r}; expected "
                f"{_expected(task)} (or null where it is not observed)"
            )


def describe(rows: pl.LazyFrame, tasks: Tasks) -> tuple[TaskSpec, ...]:
    """The tasks with the facts of the training labels, over rows with `label_columns`."""
    facts = rows.select(
        fact.alias(f"{name}.{kind}")
        for name, task in tasks.items()
        for kind, fact in _facts(name, task).items()
    ).collect()
    return tuple(_describe(name, task, facts.row(0, named=True)) for name, task in tasks.items())


def _given(task: TaskConfig) -> pl.Expr:
    return pl.col(sql.value(task.label))


def _observed(task: TaskConfig) -> pl.Expr:
    there = _given(task).is_not_null()
    if task.when is None:
        return there
    return there & pl.col(sql.value(task.when)).cast(pl.Boolean).fill_null(False)


def _value(name: str, task: TaskConfig, schema: Schema) -> pl.Expr:
    """Float64; null where the label is no value of the task's kind."""
    dtype = schema[sql.value(task.label)]
    if task.kind == "multiclass":
        classes = [_class_text(value) for value in task.classes]
        known = text(_given(task), dtype).cast(pl.Enum(classes), strict=False)
        return known.to_physical().cast(pl.Float64)
    if not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
        raise DataError(
            f"tasks.{name}.label: `{task.label}` is {dtype}; expected {_expected(task)}, for "
            "example from a comparison"
        )
    return _given(task).cast(pl.Float64)


def _valid(name: str, task: TaskConfig, schema: Schema) -> pl.Expr:
    value = _value(name, task, schema)
    if task.kind == "binary":
        return value.is_in([0.0, 1.0])
    if task.kind == "multiclass":
        return value.is_not_null()
    return value.is_finite() & (value > -1.0 if task.transform == "log1p" else pl.lit(True))


def _expected(task: TaskConfig) -> str:
    if task.kind == "binary":
        return "0, 1 or a boolean"
    if task.kind == "multiclass":
        return f"one of {', '.join(map(str, task.classes))}"
    return "a finite number" + (" above -1" if task.transform == "log1p" else "")


def _class_text(value: str | int) -> str:
    return value if isinstance(value, str) else str(value)


def _facts(name: str, task: TaskConfig) -> dict[str, pl.Expr]:
    label = pl.col(f"label.{name}").filter(pl.col(f"observed.{name}")).cast(pl.Float64)
    if task.kind == "binary":
        return {"rate": label.mean()}
    if task.kind == "multiclass":
        return {}
    changed = label.log1p() if task.transform == "log1p" else label
    return {"mean": changed.mean(), "std": changed.std(ddof=0)}


def _describe(name: str, task: TaskConfig, facts: Mapping[str, float | None]) -> TaskSpec:
    if task.kind == "binary":
        return TaskSpec(name=name, kind="binary", given=task.given, rate=facts[f"{name}.rate"])
    if task.kind == "multiclass":
        return TaskSpec(name=name, kind="multiclass", classes=task.classes)
    return TaskSpec(
        name=name,
        kind="regression",
        transform=task.transform,
        mean=facts[f"{name}.mean"] or 0.0,
        std=facts[f"{name}.std"] or 1.0,
    )
