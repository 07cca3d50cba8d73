"""Binary tasks: did it happen."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks.base import TINY, Linked, Task

SURE = 1e-7
"""Scores are float32: of one nearer to 0 or 1 the logit is not known."""


class BinaryTask(Task):
    """A label of 0 or 1 (or a boolean); scored as a probability."""

    metrics: ClassVar = (
        "auc",
        "grouped_auc",
        "log_loss",
        "s_log_loss",
        "normalised_entropy",
        "calibration",
        "ece",
    )
    compared_by: ClassVar = ("auc", "grouped_auc")
    weighed_by: ClassVar = ("auc", "log_loss", "s_log_loss")
    boosted_by: ClassVar = "binary"
    two_classes: ClassVar = True

    kind: Literal["binary"] = "binary"
    given: str | None = None
    """Another binary task that must happen first, as in a funnel; `model.chain` says what is made
    of it. The label is that of both: bought, not bought if clicked."""

    @property
    def parent(self) -> str | None:
        return self.given

    @property
    def expected(self) -> str:
        return "0, 1 or a boolean"

    def valid(self, value: pl.Expr) -> pl.Expr:
        return value.is_in([0.0, 1.0])

    def facts(self, label: pl.Expr) -> dict[str, pl.Expr]:
        return {"rate": label.mean()}

    def spec(self, name: str, facts: Mapping[str, float | None]) -> TaskSpec:
        return TaskSpec(name=name, kind=self.kind, given=self.given, rate=facts["rate"])

    @staticmethod
    def row_loss(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        score = scores[:, 0]
        return -np.log(np.maximum(np.where(labels > 0, score, 1 - score), TINY))

    @staticmethod
    def linked(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> Linked:
        score = np.clip(scores.astype(np.float64), SURE, 1 - SURE)
        return Linked("logit", np.log(score) - np.log1p(-score), labels)
