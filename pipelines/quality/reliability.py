"""Whether scores are the rates that they say: a reliability curve, and its error in one number."""

from typing import NamedTuple

import numpy as np

BINS = 10
"""Of about equal weight each, by score."""
Z = 1.96
"""Half the width of a 95 % interval in standard errors."""


class Curve(NamedTuple):
    """`(bins,)` each, by ascending score."""

    mean: np.ndarray
    """Weighted mean score."""
    rate: np.ndarray
    """Weighted mean label."""
    low: np.ndarray
    high: np.ndarray
    """Ends of the 95 % interval of the rate."""
    share: np.ndarray
    """Share of all weight."""

    @property
    def error(self) -> float:
        """Expected calibration error, Σ share |mean - rate| (Naeini, Cooper and Hauskrecht, AAAI
        2015), here over bins of equal weight. Never 0 but by chance: an even coin's rate of n rows
        lies about .4 / √n from the truth."""
        return float(self.share @ np.abs(self.mean - self.rate))


def reliability(
    score: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    unit: np.ndarray | None = None,
    bins: int = BINS,
) -> Curve:
    """In up to `bins` bins of about equal weight, equal scores in one, of `(rows,)` each.

    The interval is Wilson's of as many independent rows as would vary like the `unit`s do (users;
    each row by itself when left out), and no more than (Σ w)² / Σ w² (Kish, Survey Sampling, 1965;
    Korn and Graubard, 1998, for the design effect).
    """
    parts = _bins(score, weight, bins)
    mass = np.array([weight[part].sum() for part in parts])
    mean = np.array([np.average(score[part], weights=weight[part]) for part in parts])
    rate = np.array([np.average(label[part], weights=weight[part]) for part in parts])
    count = np.array(
        [
            _independent(label[part], weight[part], None if unit is None else unit[part])
            for part in parts
        ]
    )
    middle = (rate + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(rate * (1 - rate) / count + Z**2 / (4 * count**2))
    low, high = np.minimum(middle - half, rate), np.maximum(middle + half, rate)
    return Curve(mean, rate, low, high, mass / mass.sum())


def _bins(score: np.ndarray, weight: np.ndarray, bins: int) -> list[np.ndarray]:
    """The rows of each bin, those without a weight in none. A score's bin is that of the middle of
    its rows, so neither the order of rows nor a row twice for a weight of 2 makes another."""
    rows = np.flatnonzero(weight > 0)
    _, distinct = np.unique(score[rows], return_inverse=True)
    mass = np.bincount(distinct, weight[rows])
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    number = np.floor(bins * middle).astype(int)[distinct]
    return [rows[number == place] for place in np.unique(number)]


def _independent(label: np.ndarray, weight: np.ndarray, unit: np.ndarray | None) -> float:
    """How many independent rows tell as much of the rate as these."""
    rate = weight @ label / weight.sum()
    mass, apart = weight, weight * (label - rate)
    if unit is not None:
        _, number = np.unique(unit, return_inverse=True)
        mass, apart = np.bincount(number, mass), np.bincount(number, apart)
    variance = (apart**2).sum() / mass.sum() ** 2
    if variance == 0 or label.min() == label.max():
        return float(mass.sum() ** 2 / (mass**2).sum())
    return float(min(weight.sum() ** 2 / (weight**2).sum(), rate * (1 - rate) / variance))
