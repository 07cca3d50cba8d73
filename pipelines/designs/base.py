"""What every design of an A/B test's training data shares: from logged rows to their weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fulcrum.features.config import Config
from fulcrum.features.spec import FeatureSpec
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig

BEFORE = -1
"""Place of the arm of a row that is no part of the test."""


@dataclass(frozen=True)
class LoggedRows:
    """The rows of a log, as a design sees them."""

    names: tuple[str, ...]
    """The K arms."""
    arm: np.ndarray
    """`(n,)` place of the row's arm in `names`, or `BEFORE`."""
    training: np.ndarray
    """`(n,)` bool, whether a row is in the training split."""
    chance: np.ndarray | None = None
    """`(n, K)` P(arm | row) of the rows of the test; only for a design that asks for it."""

    @property
    def test(self) -> np.ndarray:
        """`(n,)` bool, whether a row is part of the test."""
        return self.arm != BEFORE

    @property
    def shares(self) -> np.ndarray:
        """`(K,)` share of the test's rows that each arm logged."""
        return np.bincount(self.arm[self.test], minlength=len(self.names)) / self.test.sum()

    def splitting_weights(self) -> np.ndarray:
        """`(n, K)` 1 / share for rows of the arm itself, 0 for rows of others, 1 outside the
        test."""
        of_test = (self.arm[:, None] == np.arange(len(self.names))) / self.shares
        return np.where(self.test[:, None], of_test, 1.0)


class DesignConfig(Config):
    """Which rows train an arm's model, and what they weigh. A subclass adds `design`."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    summary: ClassVar[str]
    """One line: what it buys and what it costs."""
    pooled: ClassVar[bool] = False
    """Whether the model learns the law of all arms' rows together, as it does without a test."""

    design: str
    arm: str
    """The arm whose model is trained."""

    def asks(self) -> PropensityConfig | None:
        """The model of P(arm | row) that the weights are made from, if any."""
        return None

    def weights(self, rows: LoggedRows) -> np.ndarray:
        """`(n, K)` weight of each row in the training of each arm's model."""
        raise NotImplementedError

    def problems(self, spec: FeatureSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Path below `experiment_design` and message of whatever does not fit the run."""
        if spec.data.arms is None:
            yield (), "needs `data.arms`, the columns of the log that say whose row it is"
