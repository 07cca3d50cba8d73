"""Units that came under other shares than others: held against those that came with them.

While a treatment gets 1 % of Friday's units and half of Saturday's, nearly all that it has is of
Saturday, and the days are compared with the arms (Simpson, JRSS B 1951). Units that came under the
same shares are a stratum, within which the deal is fair.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

ALARM = 0.001
"""p-value, times the places that were tried, below which shares have changed; as for the sample
ratio."""


def weights(shares: np.ndarray) -> np.ndarray:
    """`(strata, arms)` weight of a unit: h_s / share, with h_s = 1 / sum over arms of 1 / share.

    shares: `(strata, arms)`, above 0. All arms then stand for the same mixture of strata, each as
    much as its h_s. That is the overlap weight of Li, Morgan and Zaslavsky (JASA 2018), for several
    arms that of Li and Li (Annals of Applied Statistics 2019): among all mixtures the one whose
    difference varies least when units vary alike. By the strata's sizes instead (h_s = 1) a day at
    1 % would decide the test. With two arms a unit weighs the other arm's share. An effect that
    differs between strata is their mean with weights n_s h_s, not the mean over all units.
    """
    inverse = 1 / np.asarray(shares, dtype=float)
    return np.asarray(inverse / inverse.sum(axis=1, keepdims=True))


def changes(counts: np.ndarray) -> list[int]:
    """Places before which the arms' shares of units changed; none where they are constant.

    counts: `(days, arms)` units that came. The likelihood ratio of other shares before than after,
    at the best place and against chi-square times the number of places; then again on either side
    (binary segmentation: Vostrikova, 1981).
    """
    return sorted(_split(np.asarray(counts, dtype=float), 0))


def _split(counts: np.ndarray, first: int) -> Sequence[int]:
    if len(counts) < 2:
        return []
    before = np.cumsum(counts, axis=0)[:-1]
    gains = 2 * (
        _likelihood(before)
        + _likelihood(counts.sum(axis=0) - before)
        - _likelihood(counts.sum(axis=0))
    )
    place = int(np.argmax(gains)) + 1
    if stats.chi2.sf(gains[place - 1], counts.shape[1] - 1) * len(gains) >= ALARM:
        return []
    return [
        *_split(counts[:place], first),
        first + place,
        *_split(counts[place:], first + place),
    ]


def _likelihood(counts: np.ndarray) -> np.ndarray:
    """Largest log likelihood of a multinomial; `(..., arms)` to `(...)`."""
    total = counts.sum(axis=-1)
    return np.asarray(special.xlogy(counts, counts).sum(axis=-1) - special.xlogy(total, total))
