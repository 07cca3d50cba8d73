"""Always-valid inference: looking after every user, and stopping whenever one likes.

Users count in the order in which they came, whatever their arm; nothing is paired. After n of them
the estimate is the difference D of the arms' values so far, with its delta-method error se. With
known variances D / se² has independent increments in the information 1 / se², whatever the order
of the arms and their shares (Jennison and Turnbull, Group Sequential Methods, 1999, chapter 11), so
what the papers say of a mean of n differences of variance V holds with V = n se². Variances are
estimated as users come: valid for large n, so nothing is said before each arm has `FEWEST` users.
A user counts once, with everything they do: order by first exposure.

The mixing variance depends on `tuned_for` alone and not on the level, so that one p-value serves
every level: p < alpha where the sequence at that alpha has left 0, whatever alpha is.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.intervals import skewness
from fulcrum.pipelines.ab.statistics.users import Users

FEWEST = 20
LEVEL = 0.05
"""At which sequences are tightest near `tuned_for`; at others they nearly are."""
PATHS, LOOKS = 4000, 150
"""Of the Brownian motions that tell the chance to find a difference."""


@dataclass(frozen=True)
class SamplePath:
    """What was known after each user, from the first on with `FEWEST` in both arms."""

    users: np.ndarray
    """`(looks,)` how many had come."""
    control: np.ndarray
    """`(looks,)` value of control so far."""
    treatment: np.ndarray
    control_se: np.ndarray
    """`(looks,)` standard error of that value."""
    treatment_se: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """`(looks,)` treatment less control."""
        return self.treatment - self.control

    @property
    def se(self) -> np.ndarray:
        """`(looks,)` standard error of the difference."""
        return np.hypot(self.control_se, self.treatment_se)

    @property
    def end(self) -> "SamplePath":
        """The last look alone: all that a log without an order of users has."""
        return SamplePath(*(column[-1:] for column in vars(self).values()))


@dataclass(frozen=True)
class Running:
    """What all looks so far say together, after each."""

    low: np.ndarray
    """`(looks,)` ends of the intersection of all intervals so far; where one has nothing in common
    with those before, the ends stay as they were."""
    high: np.ndarray
    p: np.ndarray
    """`(looks,)` smallest p-value so far, at the looks that count for the ends: it lies below alpha
    where the ends exclude 0, and nowhere else."""
    relative_low: np.ndarray
    """`(looks,)` ends for treatment / control - 1; infinite where control's value may be 0."""
    relative_high: np.ndarray
    changed: bool
    """Whether intervals had nothing in common: then no one effect explains all looks."""


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
    c_variance, t_variance = skewness.cautious(users, treated, np.stack([c_variance, t_variance]))
    return SamplePath(
        (np.flatnonzero(enough) + 1).astype(float),
        control[enough],
        treatment[enough],
        np.sqrt(c_variance[enough]),
        np.sqrt(t_variance[enough]),
    )


def msprt(path: SamplePath, tuned_for: int = 5000, tau: float | None = None) -> np.ndarray:
    """`(looks,)` p-value of the mixture sequential probability ratio test against no difference
    (Johari, Koomen, Pekelis and Walsh, arXiv 1512.04922).

    Lambda = sqrt(V / (V + n tau²)) exp(n² tau² D² / (2 V (V + n tau²))), p = min over looks of
    1 / Lambda; with V = n se² that depends on se and tau alone. `tau` is the standard deviation of
    the differences that one expects; left out, it is the one of the confidence sequence with the
    same `tuned_for`, and p falls below an alpha where the sequence at that alpha first leaves 0.
    """
    variance = path.se**2
    mixing = path.users * variance * _rho_square(tuned_for) if tau is None else tau**2
    total = variance + mixing
    log_ratio = (np.log(variance / total) + mixing * path.difference**2 / (variance * total)) / 2
    return np.minimum(1.0, np.exp(-np.maximum.accumulate(log_ratio)))


def quantiles(users: np.ndarray, alpha: float = 0.05, tuned_for: int = 5000) -> np.ndarray:
    """`(looks,)` standard errors to either end of the confidence sequence after so many users:
    sqrt(2 (n rho² + 1) / (n rho²) log(sqrt(n rho² + 1) / alpha))."""
    spread = users * _rho_square(tuned_for) + 1
    return np.asarray(np.sqrt(2 * spread / (spread - 1) * np.log(np.sqrt(spread) / alpha)))


def confidence_sequence(
    path: SamplePath, alpha: float = 0.05, tuned_for: int = 5000
) -> tuple[np.ndarray, np.ndarray]:
    """`(looks,)` low and high ends that hold the difference at all looks at once with probability
    1 - alpha (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv 2103.06476, theorem 2.2).

    D ± se times `quantiles`, tightest near `tuned_for` users of both arms together. Asymptotic; D
    stands in for the paper's mean of weighted outcomes, which it equals up to a remainder that
    vanishes faster than the ends close in.
    """
    half = path.se * quantiles(path.users, alpha, tuned_for)
    return path.difference - half, path.difference + half


def running(path: SamplePath, alpha: float = 0.05, tuned_for: int = 5000) -> Running:
    """All looks together: an effect that lies in every interval of a confidence sequence lies in
    their intersection.

    The relative effect is every ratio r for which treatment - r control, too, has 0 in its sequence
    at all looks (Fieller's interval with the quantiles of the sequence), so that it leaves 0 where
    the difference does.
    """
    ends = confidence_sequence(path, alpha, tuned_for)
    low, high = np.maximum.accumulate(ends[0]), np.minimum.accumulate(ends[1])
    apart = low > high
    counted = int(np.argmax(apart)) if apart.any() else len(low)
    place = np.minimum(np.arange(len(low)), counted - 1)
    ratio_low, ratio_high = _ratios(path, quantiles(path.users, alpha, tuned_for))
    return Running(
        low[place],
        high[place],
        msprt(path, tuned_for)[place],
        np.maximum.accumulate(ratio_low)[place],
        np.minimum.accumulate(ratio_high)[place],
        bool(apart.any()),
    )


def power(error: float, users: int, alpha: float = 0.05, tuned_for: int = 5000) -> float:
    """Chance that a true difference of `error` standard errors, as they are after `users` users of
    both arms, is shown by then at some look.

    Of `PATHS` Brownian motions with that drift, always the same ones, at `LOOKS` looks evenly
    spaced in the logarithm of the number of users.
    """
    time, noise = _motion(users)
    bound = quantiles(time * users, alpha, tuned_for) * np.sqrt(time)
    return float((noise + error * time > bound).any(axis=1).mean())


@lru_cache(maxsize=256)
def detectable(users: int, alpha: float, tuned_for: int, chance: float) -> float:
    """The true difference, in standard errors after `users` users, that is shown by then with
    probability `chance`."""
    most = float(quantiles(np.array([float(users)]), alpha, tuned_for)[0]) + 6
    return float(
        optimize.brentq(lambda e: power(e, users, alpha, tuned_for) - chance, 0, most, xtol=1e-3)
    )


@lru_cache(maxsize=4)
def _motion(users: int) -> tuple[np.ndarray, np.ndarray]:
    """`(looks,)` shares of the information that all users bring, and `(paths, looks)` Brownian
    motion at them."""
    first = min(2 * FEWEST, users) / users
    time = np.geomspace(first, 1, LOOKS) if first < 1 else np.ones(1)
    steps = np.sqrt(np.diff(time, prepend=0))
    normals = np.random.default_rng(0).standard_normal((PATHS, len(time)))
    return time, np.cumsum(normals * steps, axis=1)


def _rho_square(tuned_for: int) -> float:
    """(-2 log alpha + log(-2 log alpha + 1)) / n* at `LEVEL` (the same paper, appendix B.2)."""
    log = -2 * np.log(LEVEL)
    return float((log + np.log(log + 1)) / tuned_for)


def _ratios(path: SamplePath, quantile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(looks,)` Fieller's interval of treatment / control - 1; infinite where there is none."""
    a = path.control**2 - (quantile * path.control_se) ** 2
    b = path.control * path.treatment
    c = path.treatment**2 - (quantile * path.treatment_se) ** 2
    finite = a > 0
    base = np.where(finite, a, 1.0)
    half = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    low = np.where(finite, (b - half) / base - 1, -np.inf)
    return low, np.where(finite, (b + half) / base - 1, np.inf)


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
