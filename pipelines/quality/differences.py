"""How much better one set of scores is than another of the same rows.

Both are measured with the same users (`pulls`), so what they share cancels. What else could have
come out otherwise, as other seeds of a training or other permutations, has an interval of its own,
and both are joined as Zou and Donner join intervals (Statistics in Medicine 27, 2008), which leaves
the skewness of the users' part what it is:

    low = value - √((value - low_users)² + h²)       high likewise       h  half the other's width

Users and the other are drawn together so: what one does to single users is in both parts, which
errs to the side of fewer claims.
"""

from dataclasses import dataclass
from math import hypot
from typing import Self

import numpy as np

from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER
from fulcrum.pipelines.quality.pulls import LEVEL, interval


@dataclass(frozen=True)
class Difference:
    """Of a metric, turned so that above 0 is better."""

    value: float
    low: float | None
    """Of the interval; None where there is one user."""
    high: float | None

    @classmethod
    def of(cls, samples: np.ndarray, level: float = LEVEL, half: float = 0.0) -> Self:
        """From those of the metrics, as `better` subtracts them; `half` is half the width of what
        else than users would change."""
        value, ends = float(samples[0]), interval(samples, level)
        if ends is None:
            return cls(value, None, None)
        low, high = (hypot(end - value, half) for end in ends)
        return cls(value, value - low, value + high)

    @property
    def clear(self) -> bool:
        """Whether 0 lies beyond the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def better(ours: np.ndarray, theirs: np.ndarray, metric: str) -> np.ndarray:
    """Samples of how much better a metric is, turned so that above 0 is better."""
    return (ours - theirs) * (1 if metric in HIGHER_IS_BETTER else -1)
