"""P(arm | row): from which arm of an A/B test a logged row comes, judged by what was shown.

The row's propensity e(x) = P(Z = 1 | X = x) of Si, "Tackling Interference Induced by Data Training
Loops in A/B Tests", arXiv 2310.17496, for any number of arms. Departures from the paper, which
learns one classifier online: rows are judged by classifiers that were fitted without any row of
their unit (cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics
Journal 2018), and probabilities are calibrated on units that the classifier has not seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fulcrum.features.errors import DataError
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig, classifiers, deal

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DRAWS = 200
"""Of the bootstrap."""


@dataclass(frozen=True)
class Propensity:
    """P(arm | row) for n rows of a test with K arms."""

    names: tuple[str, ...]
    """The arms, sorted."""
    chance: np.ndarray
    """`(n, K)`; a row adds up to 1."""
    arm: np.ndarray
    """`(n,)` place of the row's own arm in `names`."""
    auc: float | None = None
    """How well the chance of the second arm tells its rows from the first's; 0.5 is not at all.
    None unless there are two arms."""
    auc_low: float | None = None
    auc_high: float | None = None
    """Ends of its 95 % interval, by the percentile bootstrap over units."""

    @cached_property
    def shares(self) -> np.ndarray:
        """`(K,)` share of the rows that each arm logged."""
        return np.bincount(self.arm, minlength=len(self.names)) / len(self.arm)

    @cached_property
    def log_loss(self) -> float:
        """Mean of -log P(own arm | row), in nats; a chance below 1 / 2n counts as that."""
        chance = self.chance[np.arange(len(self.arm)), self.arm]
        return float(-np.log(np.maximum(chance, 0.5 / len(chance))).mean())

    @cached_property
    def entropy(self) -> float:
        """Log loss, in nats, of a predictor that knows the shares alone."""
        return float(-(self.shares * np.log(self.shares)).sum())

    def weights(self) -> np.ndarray:
        """`(n, K)` W = P(arm | row) / share: with it all rows have the law of that arm's rows.

        0 <= W <= 1 / share, and the shares' mean of W is 1 on every row.
        """
        return self.chance / self.shares

    def effective(self, arm: str) -> float:
        """Effective sample size of an arm's weighted rows as a share of all rows (Kish, "Survey
        Sampling", 1965): 1 where arms are alike, the arm's own share where they share nothing."""
        return effective(self.weights()[:, self.names.index(arm)])

    @cached_property
    def outside(self) -> float:
        """Share of the rows where the chance of some arm lies outside [.05, .95]."""
        return float(((self.chance < 0.05) | (self.chance > 0.95)).any(1).mean())

    @cached_property
    def overlap(self) -> float:
        """Share of the rows that no arm has with a chance of .99 or more."""
        return float((self.chance.max(1) < 0.99).mean())


def effective(weights: np.ndarray) -> float:
    """(sum w)^2 / (n sum w^2); 0 for weights that are all 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / (len(weights) * squares) if squares else 0.0


def fit(
    inputs: "csr_matrix",
    arms: np.ndarray,
    units: np.ndarray,
    config: PropensityConfig,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda number, folds: None,
) -> Propensity:
    """Judge every row of a test by a model that has seen no row of its unit.

    Args:
        inputs: `(n, columns)`, see `designs.design_matrix`.
        arms: `(n,)` names.
        units: `(n,)` who was randomised; all rows of one are in one arm.
        seed: in place of `config.seed`.
        progress: told how many folds are judged, and of how many.

    Raises DataError for fewer than two arms, a unit in several arms, and too few units.
    """
    seed = config.seed if seed is None else seed
    names, arm = np.unique(arms, return_inverse=True)
    _, unit = np.unique(units, return_inverse=True)
    _check(names, arm, unit, config.folds)
    fold = deal(arm, unit, config.folds, seed)
    chance = np.empty((len(arm), len(names)))
    for number in range(config.folds):
        inside, outside = fold == number, fold != number
        models = classifiers(inputs[outside], arm[outside], unit[outside], config, seed)
        chance[inside] = np.mean([model.predict_proba(inputs[inside]) for model in models], 0)
        progress(number + 1, config.folds)
    chance /= chance.sum(1, keepdims=True)
    area = _area(chance[:, 1], arm, unit, seed) if len(names) == 2 else (None, None, None)
    return Propensity(tuple(map(str, names)), chance, arm, *area)


def _check(names: np.ndarray, arm: np.ndarray, unit: np.ndarray, folds: int) -> None:
    if len(names) < 2:
        raise DataError(f"P(arm | row): the rows are of {len(names)} arm; expected two or more")
    pairs = np.unique(np.stack([unit, arm]), axis=1)
    several = int((np.bincount(pairs[0]) > 1).sum())
    if several:
        raise DataError(
            f"P(arm | row): {several} units are in several arms; expected one arm for each"
        )
    for name, units in zip(names, np.bincount(pairs[1]), strict=True):
        if units < 2 * folds:
            raise DataError(
                f"P(arm | row): arm `{name}` has {units} units; {folds} folds by unit need at "
                f"least {2 * folds}"
            )


def _area(
    score: np.ndarray, arm: np.ndarray, unit: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """Area under the ROC curve and its interval; a draw takes as many units of each arm as it
    has."""
    levels, level = np.unique(score, return_inverse=True)
    counts = [_counts(unit[arm == k], level[arm == k], len(levels)) for k in (0, 1)]
    random = np.random.default_rng(seed)

    def areas() -> Iterator[float]:
        for _ in range(DRAWS):
            draws = [random.integers(c.shape[0], size=c.shape[0]) for c in counts]
            times = [np.bincount(d, minlength=len(d)) for d in draws]
            yield _pairs_in_order(*(t @ c for t, c in zip(times, counts, strict=True)))

    low, high = np.quantile(list(areas()), [0.025, 0.975])
    whole = _pairs_in_order(*(np.ones(c.shape[0]) @ c for c in counts))
    return whole, float(low), float(high)


def _counts(unit: np.ndarray, level: np.ndarray, levels: int) -> "csr_matrix":
    """`(units, levels)` rows of each unit at each level of the score."""
    from scipy.sparse import csr_matrix

    units, place = np.unique(unit, return_inverse=True)
    return csr_matrix((np.ones(len(unit)), (place, level)), shape=(len(units), levels))


def _pairs_in_order(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Share of pairs with the positive row at the higher level, ties counting half."""
    below = np.cumsum(negatives) - negatives
    pairs = (positives * (below + 0.5 * negatives)).sum()
    return float(pairs / (negatives.sum() * positives.sum()))
