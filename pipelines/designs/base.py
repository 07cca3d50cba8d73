"""What every design of an A/B test's training data shares: from logged rows to their weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
    window: np.ndarray | None = field(default=None, kw_only=True)
    """`(n,)` how often the shares had changed when a row happened; None where they are constant."""

    @property
    def test(self) -> np.ndarray:
        """`(n,)` bool, whether a row is part of the test."""
        return self.arm != BEFORE

    @property
    def shares(self) -> np.ndarray:
        """`(K,)` share of the test's rows that each arm logged."""
        return np.bincount(self.arm[self.test], minlength=len(self.names)) / self.test.sum()

    def over_shares(self, chances: np.ndarray) -> np.ndarray:
        """`(n, K)` chances of the arms, `(rows of the test, K)`, over their shares of the rows in
        the row's window; 1 outside the test. An arm without rows in a window weighs none there."""
        arm = self.arm[self.test]
        shares = np.broadcast_to(self.shares, chances.shape)
        if self.window is not None:
            window = self.window[self.test]
            counts = np.zeros((window.max() + 1, len(self.names)))
            np.add.at(counts, (window, arm), 1)
            shares = counts[window] / counts[window].sum(axis=1, keepdims=True)
        weights = np.ones((len(self.arm), len(self.names)))
        weights[self.test] = np.divide(
            chances, shares, out=np.zeros_like(chances), where=shares > 0
        )
        return weights

    def splitting_weights(self) -> np.ndarray:
        """`(n, K)` 1 / share for rows of the arm itself, 0 for rows of others, 1 outside the
        test."""
        own = self.arm[self.test][:, None] == np.arange(len(self.names))
        return self.over_shares(own.astype(float))


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
