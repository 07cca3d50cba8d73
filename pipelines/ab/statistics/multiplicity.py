"""Several questions asked at once: p-values adjusted so that each is read against alpha, and levels
of intervals that say what those p-values say."""

from collections.abc import Sequence

from statsmodels.stats.multitest import multipletests


def bonferroni(p: float, comparisons: int) -> float:
    """Keeps the chance of any false claim below alpha, as intervals at alpha / comparisons do, and
    lies below alpha where such an interval leaves 0. For claims."""
    return min(1.0, p * comparisons)


def holm(p: Sequence[float]) -> list[float]:
    """Keeps the chance of any false claim below alpha (Holm, 1979): for what has no intervals."""
    return _adjusted(p, "holm")


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Keeps the expected share of false ones among the claims below alpha (Benjamini and Hochberg,
    1995): for exploring."""
    return _adjusted(p, "fdr_bh")


def coverage_level(p: Sequence[float], alpha: float) -> float:
    """What the intervals of explored questions miss at most, so that those leave 0 whose p-value is
    below alpha after `benjamini_hochberg`, and no other: alpha times the number of these (1 if
    there are none) over that of the questions (Benjamini and Yekutieli, JASA 2005: the false
    coverage rate)."""
    found = sum(value < alpha for value in benjamini_hochberg(p))
    # 0.2 * 3 / 3 is above 0.2.
    return min(alpha, alpha * max(found, 1) / max(len(p), 1))


def _adjusted(p: Sequence[float], method: str) -> list[float]:
    return [float(value) for value in multipletests(p, method=method)[1]] if len(p) else []
