"""Count tasks: how often."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks.base import TINY, Linked, Task


class CountTask(Task):
    """How often something happens, 0 or more; scored as the mean that is expected."""

    metrics: ClassVar = ("deviance", "rmse", "mae", "calibration")
    compared_by: ClassVar = ("deviance", "rmse")
    weighed_by: ClassVar = ("deviance", "rmse")
    boosted_by: ClassVar = "poisson"

    kind: Literal["count"] = "count"

    @property
    def expected(self) -> str:
        return "a finite number, 0 or above"

    def valid(self, value: pl.Expr) -> pl.Expr:
        return value.is_finite() & (value >= 0.0)

    def facts(self, label: pl.Expr) -> dict[str, pl.Expr]:
        return {"mean": label.mean()}

    def spec(self, name: str, facts: Mapping[str, float | None]) -> TaskSpec:
        return TaskSpec(name=name, kind=self.kind, mean=facts["mean"] or 0.0)

    @staticmethod
    def row_loss(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        rates = np.maximum(scores[:, 0], TINY)
        logs = np.log(np.where(labels > 0, labels, 1.0)) - np.log(rates)
        return 2 * (labels * logs - labels + rates)

    @staticmethod
    def linked(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> Linked:
        return Linked("log", np.log(np.maximum(scores.astype(np.float64), TINY)), labels)
