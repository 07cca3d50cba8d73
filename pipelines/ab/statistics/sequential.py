"""Always-valid inference: looking after every user, and stopping whenever one likes.

Users count in the order in which they came, whatever their arm; nothing is paired. After n of them
the estimate is the difference D of the arms' values so far, with its delta-method error se. With
known variances D / se² has independent increments in the information 1 / se², whatever the order
of the arms and their shares (Jennison and Turnbull, Group Sequential Methods, 1999, chapter 11), so
what the papers say of a mean of n differences of variance V holds with V = n se². Variances are
estimated as users come: valid for large n, so nothing is said before each arm has `FEWEST` users.
A user counts once, with everything they do: order by first exposure.
"""

from dataclasses import dataclass

import numpy as np

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.intervals import skewness
from fulcrum.pipelines.ab.statistics.users import Users

FEWEST = 20


@dataclass(frozen=True)
class SamplePath:
    """What was known after each user, from the first on with `FEWEST` in both arms."""

    users: np.ndarray
    """`(looks,)` how many had come."""
    difference: np.ndarray
    se: np.ndarray


def sample_path(users: Users, treated: np.ndarray) -> SamplePath:
    """The difference of values, sum over sum, after each user.

    users: of both arms, in the order in which they came; treated: `(users,)` bool. An arm that is
    constant so far, or too small for the metric's skewness, has the variance of the other
    (`skewness.cautious`). Raises DataError where an arm never has `FEWEST` users.
    """
    counts = np.stack([np.cumsum(~treated), np.cumsum(treated)])
    enough = (counts >= FEWEST).all(axis=0)
    if not enough.any():
        raise DataError(
            f"{counts[0, -1] if len(users) else 0} users in control and "
            f"{counts[1, -1] if len(users) else 0} in treatment; looking early needs "
            f"{FEWEST} in each"
        )
    (control, c_variance), (treatment, t_variance) = (
        _running(users, chosen) for chosen in (~treated, treated)
    )
    se = np.sqrt(skewness.cautious(users, treated, np.stack([c_variance, t_variance])).sum(axis=0))
    return SamplePath(
        (np.flatnonzero(enough) + 1).astype(float),
        (treatment - control)[enough],
        se[enough],
    )


def msprt(
    path: SamplePath, alpha: float = 0.05, tuned_for: int = 5000, tau: float | None = None
) -> np.ndarray:
    """`(looks,)` p-value of the mixture sequential probability ratio test against no difference
    (Johari, Koomen, Pekelis and Walsh, arXiv 1512.04922).

    Lambda = sqrt(V / (V + n tau²)) exp(n² tau² D² / (2 V (V + n tau²))), p = min over looks of
    1 / Lambda; with V = n se² that depends on se and tau alone. `tau` is the standard deviation of
    the differences that one expects; left out, it is the one of the confidence sequence with the
    same `alpha` and `tuned_for`, and p falls below alpha where that first leaves 0.
    """
    variance = path.se**2
    mixing = path.users * variance * _rho_square(alpha, tuned_for) if tau is None else tau**2
    total = variance + mixing
    log_ratio = (np.log(variance / total) + mixing * path.difference**2 / (variance * total)) / 2
    return np.minimum(1.0, np.exp(-np.maximum.accumulate(log_ratio)))


def confidence_sequence(
    path: SamplePath, alpha: float = 0.05, tuned_for: int = 5000
) -> tuple[np.ndarray, np.ndarray]:
    """`(looks,)` low and high ends that hold the difference at all looks at once with probability
    1 - alpha (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv 2103.06476, theorem 2.2).

    D ± se sqrt(2 (n rho² + 1) / (n rho²) log(sqrt(n rho² + 1) / alpha)), tightest near `tuned_for`
    users of both arms together. Asymptotic; D stands in for the paper's mean of weighted outcomes,
    which it equals up to a remainder that vanishes faster than the ends close in.
    """
    spread = path.users * _rho_square(alpha, tuned_for) + 1
    half = path.se * np.sqrt(2 * spread / (spread - 1) * np.log(np.sqrt(spread) / alpha))
    return path.difference - half, path.difference + half


def _rho_square(alpha: float, tuned_for: int) -> float:
    """(-2 log alpha + log(-2 log alpha + 1)) / n* (the same paper, appendix B.2)."""
    log = -2 * np.log(alpha)
    return float((log + np.log(log + 1)) / tuned_for)


def _running(users: Users, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(users,)` value of the chosen arm and its variance, (s_Y² - 2 R s_YN + R² s_N²) /
    (n mean(N)²), so far. Sums are taken about the mean, which changes no variance, for accuracy."""
    n = np.maximum(np.cumsum(chosen), 1)
    centres = users.numerator.mean(), users.denominator.mean()
    y, d = (
        np.where(chosen, v - centre, 0.0)
        for v, centre in zip((users.numerator, users.denominator), centres, strict=True)
    )
    mean_y, mean_d = np.cumsum(y) / n, np.cumsum(d) / n
    y_y, y_d, d_d = (
        (np.cumsum(a * b) - n * mean_a * mean_b) / np.maximum(n - 1, 1)
        for a, b, mean_a, mean_b in (
            (y, y, mean_y, mean_y),
            (y, d, mean_y, mean_d),
            (d, d, mean_d, mean_d),
        )
    )
    base = mean_d + centres[1]
    value = np.divide(mean_y + centres[0], base, out=np.zeros_like(base), where=base != 0)
    square = np.where(base != 0, base**2, np.inf)
    return value, np.maximum(y_y - 2 * value * y_d + value**2 * d_d, 0.0) / (n * square)
