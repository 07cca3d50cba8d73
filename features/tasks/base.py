"""What every kind of task states of itself, but for what needs torch: that is its objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl

from fulcrum.features.config import Config
from fulcrum.features.layout import TaskSpec

Mean = Callable[[pl.Expr], pl.Expr]
"""Weighted mean over observed rows."""
TINY = 1e-12
"""Least probability or rate of which a logarithm is taken."""
Link = Literal["logit", "log"]
"""From what a label is expected to be to a number without bounds."""


class Linked(NamedTuple):
    """Scores and labels as a generalised linear model has them (McCullagh and Nelder, Generalized
    Linear Models, 1989, section 2.2)."""

    link: Link
    value: np.ndarray
    """`(rows,)` float64, finite: the link of each score."""
    target: np.ndarray
    """`(rows,)` what the inverse link of the value should be the mean of."""


class Task(Config, ABC):
    """One thing to predict. A subclass adds `kind` and its own settings."""

    metrics: ClassVar[tuple[str, ...]]
    """Names in `fulcrum.pipelines.quality.metrics` that its scores are measured by."""
    compared_by: ClassVar[tuple[str, str]]
    """Metrics that networks are compared by; the first is the one that a task is judged by."""
    weighed_by: ClassVar[tuple[str, ...]]
    """Metrics that are told of each weighting."""
    boosted_by: ClassVar[str]
    """Objective of LightGBM that fits such labels; of classes it is also scikit-learn's word for
    them."""
    two_classes: ClassVar[bool] = False
    """Whether labels are 0 or 1 and the score is the probability of 1."""
    squared_error: ClassVar[bool] = False
    """Whether the loss is a squared error."""

    label: str
    """Polars SQL expression over the log's columns."""
    when: str | None = None
    """SQL condition: rows where the label is observed; everywhere when left out. A null label is
    never observed."""
    kind: str

    @property
    def parent(self) -> str | None:
        """The task that must happen first."""
        return None

    @property
    @abstractmethod
    def expected(self) -> str:
        """What a label must be, in words."""

    def value(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
        """The label as Float64, null where it is none of this kind; None for a type of column that
        holds no such labels."""
        if dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null):
            return column.cast(pl.Float64)
        return None

    @abstractmethod
    def valid(self, value: pl.Expr) -> pl.Expr:
        """Boolean: whether a value is a label of this kind."""

    @abstractmethod
    def facts(self, label: pl.Expr) -> dict[str, pl.Expr]:
        """Numbers of the observed training labels, Float64, that the network starts from."""

    @abstractmethod
    def spec(self, name: str, facts: Mapping[str, float | None]) -> TaskSpec:
        """The task as the network sees it; `facts` as `facts` names them."""

    @staticmethod
    def constant(task: TaskSpec, label: pl.Expr, mean: Mean) -> pl.Expr:
        """The score that knows nothing of the row; a list where a task has several."""
        return mean(label)

    @staticmethod
    @abstractmethod
    def row_loss(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The loss of final scores: `(rows, scores), (rows,) -> (rows,)`."""

    @staticmethod
    def linked(task: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> Linked | None:
        """Scores and labels `(rows,)` as they are calibrated; None where scores are left alone."""
        return None
