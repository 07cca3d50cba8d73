"""Which calibration each task gets: the fewest numbers that held-out rows do not speak against.

Every calibration of a task's scale is fitted on all but a fifth of the users and measured on that
fifth, five times. One with more numbers is taken only where it lowers the held-out loss by more
than two standard errors, which are those of users: the penalty for the numbers. (A standard error
as the price of complexity: Breiman et al., Classification and Regression Trees, 1984, section
3.4.3; two of them, since a calibration that is not needed does harm.)

The loss is A(z) - t z, the negative log likelihood of a canonical link z: log loss on the logit,
half the Poisson deviance on the logarithm, up to a constant.
"""

import logging
from collections.abc import Callable, Iterator

import numpy as np

from fulcrum.features.tasks import TASKS
from fulcrum.features.tasks.base import Link, Linked
from fulcrum.models.calibrations import CALIBRATIONS, Calibration, NoCalibration
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, by_task
from fulcrum.pipelines.quality.units import units

logger = logging.getLogger(__name__)

FOLDS = 5
SURE = 2.0
"""Standard errors by which held-out loss must fall for each step to more numbers."""
STEEPEST = 10.0
"""Slope of a map above which rounding errors of the logit could be seen in the score."""
SEED = 0
"""Of the deal of users to folds."""
NORMALISER: dict[Link, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda z: np.logaddexp(0, z),
    "log": np.exp,
}
"""A, by link."""


def fit(predictions: Predictions) -> dict[str, Calibration]:
    """The calibration of each task whose kind has one, from scores that are not calibrated, of rows
    that the network was not trained on."""
    unit = units(predictions.column(GROUP))[1]
    calibrations = {}
    for rows in by_task(predictions):
        name = rows.task.name
        linked = TASKS[rows.task.kind].linked(rows.task, rows.scores, rows.labels)
        if linked is not None:
            weighs = rows.weight > 0
            shown = Linked(linked.link, linked.value[weighs], linked.target[weighs])
            unit_of_row = unit[rows.observed][weighs]
            calibrations[name] = choose(shown, rows.weight[weighs], unit_of_row)
            logger.info("calibration of %s: %s", name, calibrations[name].kind)
    return calibrations


def choose(linked: Linked, weight: np.ndarray, unit: np.ndarray) -> Calibration:
    """The calibration of one task; `weight` above 0 and the user of each row, `(rows,)`."""
    _, unit = np.unique(unit, return_inverse=True)
    count = int(unit.max(initial=-1)) + 1
    best: Calibration = NoCalibration()
    if count < 2 * FOLDS:
        return best
    fold = np.random.default_rng(SEED).permutation(count)[unit] % FOLDS
    least = losses(linked, linked.value)
    for member in _members(linked.link):
        value = held_out(member, linked, weight, fold)
        whole = _fitted(member, linked, weight)
        if value is None or whole is None:
            continue
        loss = losses(linked, value)
        fall = np.bincount(unit, weight * (least - loss))
        error = np.sqrt(count) * fall.std(ddof=1)
        if fall.sum() > SURE * error:
            best, least = whole, loss
    return best


def losses(linked: Linked, value: np.ndarray) -> np.ndarray:
    """`(rows,)` of calibrated links, up to what does not depend on them."""
    return NORMALISER[linked.link](value) - linked.target * value


def held_out(
    member: type[Calibration], linked: Linked, weight: np.ndarray, fold: np.ndarray
) -> np.ndarray | None:
    """`(rows,)` links, those of each fold calibrated on the others; None where one fit fails."""
    value = np.empty(len(fold))
    for number in range(FOLDS):
        inside = fold == number
        others = Linked(linked.link, linked.value[~inside], linked.target[~inside])
        fitted = _fitted(member, others, weight[~inside])
        if fitted is None:
            return None
        value[inside] = fitted(linked.value[inside])
    return value


def _members(link: Link) -> Iterator[type[Calibration]]:
    """Those that could put scores of a link right, fewest numbers first."""
    for member in CALIBRATIONS.values():
        if link in member.links and member is not NoCalibration:
            yield member


def _fitted(member: type[Calibration], linked: Linked, weight: np.ndarray) -> Calibration | None:
    fitted = member.fit(linked.value, linked.target, weight)
    return None if fitted is None or fitted.terms.steepest > STEEPEST else fitted
