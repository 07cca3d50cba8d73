"""Multi-class tasks: which of them."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks.base import TINY, Mean, Task
from fulcrum.features.values.text import Word, text


class MulticlassTask(Task):
    """One of a list of classes; scored as a probability per class."""

    metrics: ClassVar = ("accuracy", "log_loss")
    compared_by: ClassVar = ("accuracy", "log_loss")
    weighed_by: ClassVar = ("accuracy", "log_loss")
    boosted_by: ClassVar = "multiclass"

    kind: Literal["multiclass"] = "multiclass"
    classes: tuple[Word, ...] = Field(min_length=2)
    """The values that the label takes, in the order of the scores."""

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(str, self.classes))}"

    def value(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        label = text(column, dtype).cast(pl.Enum([str(c) for c in self.classes]), strict=False)
        return label.to_physical().cast(pl.Float64)

    def valid(self, value: pl.Expr) -> pl.Expr:
        return value.is_not_null()

    def facts(self, label: pl.Expr) -> dict[str, pl.Expr]:
        return {}

    def spec(self, name: str, facts: Mapping[str, float | None]) -> TaskSpec:
        return TaskSpec(name=name, kind=self.kind, classes=self.classes)

    @staticmethod
    def constant(task: TaskSpec, label: pl.Expr, mean: Mean) -> pl.Expr:
        return pl.concat_list([mean(label == index) for index in range(len(task.classes))])

    @staticmethod
    def row_loss(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        chances = np.take_along_axis(scores, labels.astype(np.int64)[:, None], 1)[:, 0]
        return -np.log(np.maximum(chances, TINY))
