"""Regression tasks: how much of it."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks.base import TINY, Linked, Task


class RegressionTask(Task):
    """A number; scored in its own unit."""

    metrics: ClassVar = ("rmse", "mae", "calibration")
    compared_by: ClassVar = ("rmse", "mae")
    weighed_by: ClassVar = ("rmse", "mae")
    boosted_by: ClassVar = "regression"
    squared_error: ClassVar = True

    kind: Literal["regression"] = "regression"
    transform: Literal["none", "log1p"] = "none"
    """Applied to the label before it is standardised with the training split's moments; inverted in
    the score."""

    @property
    def expected(self) -> str:
        return "a finite number" + (" above -1" if self.transform == "log1p" else "")

    def valid(self, value: pl.Expr) -> pl.Expr:
        return value.is_finite() & (value > -1.0 if self.transform == "log1p" else pl.lit(True))

    def facts(self, label: pl.Expr) -> dict[str, pl.Expr]:
        label = label.log1p() if self.transform == "log1p" else label
        return {"mean": label.mean(), "std": label.std(ddof=0)}

    def spec(self, name: str, facts: Mapping[str, float | None]) -> TaskSpec:
        return TaskSpec(
            name=name,
            kind=self.kind,
            transform=self.transform,
            mean=facts["mean"] or 0.0,
            std=facts["std"] or 1.0,
        )

    @staticmethod
    def row_loss(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        score = scores[:, 0]
        if task.transform == "log1p":
            score, labels = np.log1p(score), np.log1p(labels)
        return ((score - labels) / task.std) ** 2

    @staticmethod
    def linked(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> Linked | None:
        """After log1p only: a squared error by itself is least at the mean."""
        if task.transform != "log1p":
            return None
        return Linked("log", np.log(np.maximum(1 + scores.astype(np.float64), TINY)), 1 + labels)
