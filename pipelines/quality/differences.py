"""How much better one set of scores is than another of the same rows.

Both are measured with the same users (`resamples`), so what they share cancels. What other seeds of
a training would change is in no interval here.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import ndtri

from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER
from fulcrum.pipelines.quality.resamples import LEVEL, interval


@dataclass(frozen=True)
class Difference:
    """Of a metric, turned so that above 0 is better."""

    value: float
    low: float | None
    """Of the interval over users; None where there is none."""
    high: float | None

    @classmethod
    def of(cls, samples: np.ndarray) -> Self:
        """From those of the metrics, as `better` subtracts them."""
        low, high = interval(samples) or (None, None)
        return cls(float(samples[0]), low, high)

    def clear(self, comparisons: int) -> bool:
        """Whether it is told from 0 beside so many others: by its interval, stretched from `LEVEL`
        to a level whose complement is shared evenly among all of them (Bonferroni), as that of a
        normal value would be."""
        near = self.low if self.value > 0 else self.high
        if near is None:
            return False
        single, shared = (-ndtri((1 - LEVEL) / 2 / count) for count in (1, comparisons))
        return bool(abs(self.value) > shared / single * abs(self.value - near))


def better(ours: np.ndarray, theirs: np.ndarray, metric: str) -> np.ndarray:
    """Samples of how much better a metric is, turned so that above 0 is better."""
    return (ours - theirs) * (1 if metric in HIGHER_IS_BETTER else -1)
