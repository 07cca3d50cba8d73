"""p-values of several questions asked at once, adjusted so that each is read against alpha."""

from collections.abc import Sequence

from statsmodels.stats.multitest import multipletests


def holm(p: Sequence[float]) -> list[float]:
    """Keeps the chance of any false claim below alpha (Holm, 1979): for claims."""
    return _adjusted(p, "holm")


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Keeps the expected share of false ones among the claims below alpha (Benjamini and Hochberg,
    1995): for exploring."""
    return _adjusted(p, "fdr_bh")


def _adjusted(p: Sequence[float], method: str) -> list[float]:
    return [float(value) for value in multipletests(p, method=method)[1]] if len(p) else []
