"""A gain and how sure it is: other users and other seeds, for all gains of a table at once.

The value is a mean over S seeds, of a network less another. What other users would change is the
interval of `quality.pulls`, both networks on the same rows. What other seeds would change is
told by the spread over seeds. A spread of two or three numbers says little, so it is pooled over
the networks, as in an analysis of variance; a network that spreads more is taken at its own:

    v_k = max(s_k², mean of s²)      h = t √((v_ours + v_theirs) / S)     networks · (S - 1) degrees

Both are joined as `quality.differences` has it. Every interval of a table of m gains has the level
1 - 5 % / m (Bonferroni), so that with 95 % all of them are right. One seed has no spread: then
nothing is marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy import stats

from fulcrum.pipelines.quality.differences import Difference

RELEVANT = 0.1
"""Per cent of the control's value below which a gain is not marked, unless another is declared."""


@dataclass(frozen=True)
class Gain(Difference):
    """How much better than another network."""

    least: float = 0.0
    """What is smaller is not marked, however sure it is; infinite with one seed."""

    @property
    def rises(self) -> bool:
        """Whether the whole interval is above 0, and the gain of a relevant size."""
        return self.low is not None and self.low > 0 and self.value >= self.least

    @property
    def falls(self) -> bool:
        """Whether the whole interval is below 0, and the loss of a relevant size."""
        return self.high is not None and self.high < 0 and self.value <= -self.least

    @property
    def mark(self) -> int:
        """1 where it rises, -1 where it falls, else 0."""
        return int(self.rises) - int(self.falls)

    def percent_of(self, whole: float) -> "Gain":
        """The same in per cent of another number."""
        scale = 100 / abs(whole)
        low, high = (None if end is None else end * scale for end in (self.low, self.high))
        return Gain(self.value * scale, low, high, self.least * scale)


@dataclass(frozen=True)
class Spread:
    """What a seed changes in one number of each network."""

    variance: dict[str, float]
    """Of one run, by network."""
    degrees: int
    """Of freedom."""
    seeds: int

    def half(self, a: str, b: str, level: float) -> float:
        """Half the width of the interval of the difference of two networks' means over seeds."""
        error = sqrt((self.variance[a] + self.variance[b]) / self.seeds)
        return float(stats.t.ppf(0.5 + level / 2, self.degrees)) * error


def spread(values: Mapping[str, Sequence[float]]) -> Spread | None:
    """From each network's values, one a seed; None with one seed."""
    seeds = min(map(len, values.values()))
    if seeds < 2:
        return None
    own = {network: float(np.var(v, ddof=1)) for network, v in values.items()}
    pooled = float(np.mean(list(own.values())))
    degrees = len(own) * (seeds - 1)
    return Spread({network: max(v, pooled) for network, v in own.items()}, degrees, seeds)


def judge(samples: np.ndarray, half: float | None, level: float, least: float = 0.0) -> Gain:
    """A gain from its samples `(1 + parts,)`, the mean over seeds; `half` is what seeds add, None
    where that is not known."""
    gap = Difference.of(samples, level, half or 0.0)
    known = half is not None and gap.low is not None
    return Gain(gap.value, gap.low, gap.high, least if known else inf)
