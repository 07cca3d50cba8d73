"""LightGBM, one model a task. No other file imports it.

Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017; with its
own settings but for the rate, and as many rounds as lower the loss of the validation split.

Trees fit the label on its own scale whatever the task's `transform`: squared error is what RMSE, by
which such a task is judged, measures. An id of many values enters as the mean label of its training
rows, shrunk to that of all (target statistics: Micci-Barreca, SIGKDD Explorations 2001); a training
row gets that of the folds that it is not in, so no row reads its own label. Neither knows weights.
"""

import logging
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.preprocessing import TargetEncoder

from fulcrum.features.errors import ConfigError, ResourceError
from fulcrum.features.layout import TaskSpec
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.baseline.columns import Rows

logger = logging.getLogger(__name__)

PACKAGE = "pip install 'fulcrum-recsys[baseline]'"
RATE = 0.05
ROUNDS, PATIENCE = 2000, 50
"""Trees at most, and for how many of them the validation loss may not fall."""
FIXED_ROUNDS = 200
"""Trees where no validation row has the task."""
FOLDS = 5
"""Of which a training row's statistic leaves out its own."""
SEED = 0


def lightgbm() -> ModuleType:
    """The package. Raises ConfigError that says how to install it, ResourceError where it does not
    load."""
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            f"a baseline needs LightGBM, which is not installed here (`{PACKAGE}`)"
        ) from error
    except OSError as error:
        raise ResourceError(f"LightGBM is installed and does not load: {error}") from error
    return lightgbm


def boost(task: TaskSpec, place: int, train: Rows, valid: Rows | None, test: Rows) -> np.ndarray:
    """Fit the task at a place of the labels, and score every row of `test`: `(rows, scores)` in the
    label's unit."""
    package = lightgbm()
    fitted, stopping = _observed(train, place), None if valid is None else _observed(valid, place)
    labels = train.labels[fitted, place]
    if np.ptp(labels) == 0:
        return _all_alike(task, float(labels[0]), len(test.weight))
    folds = KFold(FOLDS, shuffle=True, random_state=SEED)
    target = TASKS[task.kind].boosted_by if _is_class(task) else "continuous"
    encoder = TargetEncoder(target_type=target, cv=folds)
    ids = train.ids[fitted]
    statistics = encoder.fit_transform(ids, labels) if ids.shape[1] else ids

    def matrix(rows: Rows, which: np.ndarray | slice) -> np.ndarray:
        ids = rows.ids[which]
        encoded = encoder.transform(ids) if ids.shape[1] else ids
        return _join(rows.plain[which], encoded)

    settings = _settings(task)
    fit = package.Dataset(
        _join(train.plain[fitted], statistics),
        labels,
        weight=train.weight[fitted],
        categorical_feature=list(train.categories),
        params=settings,
    )
    if valid is None or stopping is None or not stopping.any():
        booster = package.train(settings, fit, FIXED_ROUNDS)
    else:
        held_out = package.Dataset(
            matrix(valid, stopping),
            valid.labels[stopping, place],
            weight=valid.weight[stopping],
            reference=fit,
        )
        stop = package.early_stopping(PATIENCE, verbose=False)
        booster = package.train(settings, fit, ROUNDS, [held_out], callbacks=[stop])
    logger.info("boosting %s: %d rounds", task.name, booster.best_iteration or FIXED_ROUNDS)
    scores = booster.predict(matrix(test, slice(None)))
    return np.clip(scores.reshape(len(test.weight), -1), *_range(task, labels))


def _settings(task: TaskSpec) -> dict[str, Any]:
    settings = {
        "objective": TASKS[task.kind].boosted_by,
        "learning_rate": RATE,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return settings | ({"num_class": len(task.classes)} if task.classes else {})


def _observed(rows: Rows, place: int) -> np.ndarray:
    """Which rows have the task and a weight."""
    return rows.observed[:, place] & (rows.weight > 0)


def _join(plain: np.ndarray, statistics: np.ndarray) -> np.ndarray:
    return np.concatenate([plain, statistics], 1, dtype=np.float32)


def _range(task: TaskSpec, labels: np.ndarray) -> tuple[float, float]:
    """Of scores: trees that fit squared errors may go beyond the labels."""
    return (0.0, 1.0) if _is_class(task) else (labels.min(), labels.max())


def _is_class(task: TaskSpec) -> bool:
    return TASKS[task.kind].two_classes or bool(task.classes)


def _all_alike(task: TaskSpec, label: float, rows: int) -> np.ndarray:
    """Of a task whose training labels are all one."""
    one = np.eye(len(task.classes))[int(label)] if task.classes else np.array([label])
    return np.tile(one, (rows, 1))
