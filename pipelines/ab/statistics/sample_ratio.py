"""Sample ratio mismatch: do the arms have the shares of users that they were given?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fulcrum.features.errors import DataError, nearest

ALARM = 0.001
"""p-value below which nothing else of the test is to be trusted; the usual convention."""
CONCENTRATION = 100.0
"""Of the Dirichlet prior about the designed shares."""


@dataclass(frozen=True)
class SampleRatio:
    """Users that came and users that were due, by arm."""

    counts: dict[str, int]
    expected: dict[str, float]
    p_value: float

    @property
    def holds(self) -> bool:
        """No alarm."""
        return self.p_value >= ALARM


def check(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Pearson's chi-square of the counts against the designed shares; arms left out of `counts`
    have no users. Raises DataError for an arm without a share, or when nobody came."""
    _known(counts, shares)
    observed = {arm: int(counts.get(arm, 0)) for arm in shares}
    total = sum(observed.values())
    if total == 0:
        raise DataError("no arm has users")
    due = {arm: total * share / sum(shares.values()) for arm, share in shares.items()}
    test = stats.chisquare(list(observed.values()), list(due.values()))
    return SampleRatio(observed, due, float(test.pvalue))


def sequential(arms: Iterable[str], shares: Mapping[str, float]) -> np.ndarray:
    """`(users,)` log Bayes factor after each user for other shares than the designed ones (Lindon
    and Malek, arXiv 2011.03567). Under the designed shares the chance that it ever reaches
    log(1 / alpha) is at most alpha, however often one looks.

    arms: of users as they came. Raises DataError for an arm without a share.
    """
    came = np.asarray(list(arms), dtype=object)
    _known(set(came), shares)
    chances = np.array(list(shares.values())) / sum(shares.values())
    counts = np.cumsum(came[:, None] == np.array(list(shares), dtype=object), axis=0)
    prior = CONCENTRATION * chances
    total = prior.sum()
    n = np.arange(1, len(came) + 1)
    gammas = special.gammaln(prior + counts) - special.gammaln(prior)
    null = counts @ np.log(chances)
    return special.gammaln(total) - special.gammaln(n + total) + gammas.sum(axis=1) - null


def _known(arms: Iterable[str], shares: Mapping[str, float]) -> None:
    for arm in arms:
        if arm not in shares:
            raise DataError(
                f"arm `{arm}` has no share; expected one of {', '.join(shares)}"
                + nearest(str(arm), shares)
            )
