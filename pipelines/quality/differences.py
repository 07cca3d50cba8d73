"""How much better one set of scores is than another of the same rows.

Both are measured with the same users (`resamples`), so what they share cancels. What other seeds of
a training would change is in no interval here.
"""

from dataclasses import dataclass, replace
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

    def beside(self, comparisons: int) -> Self:
        """With an interval that holds at `LEVEL` for so many differences at once: stretched to a
        level whose complement is shared evenly among them (Bonferroni), as that of a normal value
        would be."""
        if self.low is None or self.high is None:
            return self
        alone, shared = (-ndtri((1 - LEVEL) / 2 / count) for count in (1, comparisons))
        ends = (self.value + shared / alone * (end - self.value) for end in (self.low, self.high))
        return replace(self, **dict(zip(("low", "high"), map(float, ends), strict=True)))

    @property
    def clear(self) -> bool:
        """Whether 0 lies beyond the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def better(ours: np.ndarray, theirs: np.ndarray, metric: str) -> np.ndarray:
    """Samples of how much better a metric is, turned so that above 0 is better."""
    return (ours - theirs) * (1 if metric in HIGHER_IS_BETTER else -1)
