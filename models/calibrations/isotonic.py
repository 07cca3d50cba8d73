"""Isotonic regression in a few steps, joined by lines."""

from itertools import pairwise
from math import inf
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from fulcrum.models.calibrations.base import Calibration
from fulcrum.models.calibrations.increasing import Piece, Terms

STEPS, ROWS = 10, 50
"""Most steps, and least rows of either class in each."""


class IsotonicCalibration(Calibration):
    """A line through (x_k, y_k): logits of the mean score of a step and of its rate, after
    neighbours that fall were pooled. Beyond the outer points it goes on with slope 1.

    Departures: rows come in steps of equal width, joined until each has enough rows of either
    class, so that no rate is that of a handful; half a row of either class is added to each; lines
    between points, where the paper is flat, keep rows apart that the network told apart.
    """

    source: ClassVar = (
        "Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability "
        "Estimates, KDD 2002, section 3"
    )
    links: ClassVar = frozenset({"logit"})

    kind: Literal["isotonic"] = "isotonic"
    x: tuple[float, ...] = Field(min_length=2)
    """Logits of the scores, ascending."""
    y: tuple[float, ...] = Field(min_length=2)
    """What they become, ascending."""

    @classmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        from sklearn.isotonic import IsotonicRegression

        positive = target > 0
        step = _steps(value, positive)
        mass = np.bincount(step, weight)
        half = 0.5 * mass / np.bincount(step)
        rate = (np.bincount(step, weight * positive) + half) / (mass + 2 * half)
        mean = np.bincount(step, weight / (1 + np.exp(-value))) / mass
        pooled = IsotonicRegression().fit_transform(mean, rate, sample_weight=mass)
        levels, level = np.unique(pooled.round(12), return_inverse=True)
        if len(levels) < 2:
            return None
        score = np.bincount(level, mass * mean) / np.bincount(level, mass)
        x, y = (np.log(p) - np.log1p(-p) for p in (score, levels))
        return cls(x=tuple(x.tolist()), y=tuple(y.tolist()))

    @property
    def terms(self) -> Terms:
        points = list(zip(self.x, self.y, strict=True))
        between = (
            Piece((y1 - y0) / (x1 - x0), x0, 0.0, x1 - x0)
            for (x0, y0), (x1, y1) in pairwise(points)
        )
        below, above = Piece(1.0, self.x[0], -inf, 0.0), Piece(1.0, self.x[-1], 0.0, inf)
        return Terms(self.y[0], pieces=(below, *between, above))


def _steps(value: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """`(rows,)` number of each row's step, ascending with the value."""
    low, high = np.quantile(value, [0.01, 0.99])
    edges = np.linspace(low, high, STEPS + 1)[1:-1]
    narrow = np.searchsorted(edges, value, side="right")
    counts = np.bincount(2 * narrow + positive, minlength=2 * STEPS).reshape(STEPS, 2)
    wide, number, held = np.zeros(STEPS, np.int64), 0, np.zeros(2)
    for place in range(STEPS):
        if (held >= ROWS).all() and (counts[place:].sum(0) >= ROWS).all():
            number, held = number + 1, np.zeros(2)
        wide[place], held = number, held + counts[place]
    return wide[narrow]
