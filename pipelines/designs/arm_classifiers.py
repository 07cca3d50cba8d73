"""Classifiers that tell the arm of a row, stopped and calibrated on units they have not seen."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from fulcrum.features.config import Config

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BATCH, RATE, PATIENCE = 256, 3e-3, 3
"""Rows of a step, Adam's learning rate, and passes without a gain before the network stops."""
PARTS = 3
"""One part in so many of the units that classifiers may see is held out from each, in turn: it
stops and calibrates the classifier."""


class PropensityConfig(Config):
    """The model of P(arm | row)."""

    features: tuple[str, ...] = Field(min_length=1)
    """Features of the shown item and of the request, by name: everything that the arms change, and
    nothing that tells who the user is."""
    kind: Literal["mlp", "logistic"] = "mlp"
    """A small network, or logistic regression."""
    hidden: tuple[int, ...] = Field((64, 64), min_length=1)
    """Widths of the network's hidden layers."""
    epochs: int = Field(50, ge=1)
    """Passes of the network over its rows at most; it stops where it judges held-out units best."""
    folds: int = Field(5, ge=2)
    """The rows of each unit are judged by a classifier that was fitted without it, one of so
    many."""
    calibrate: Literal["isotonic", "sigmoid"] = "isotonic"
    """How scores become probabilities, on held-out units: by a rising step function, which needs
    some thousand rows, or by Platt's sigmoid."""
    seed: int = 0
    """Of folds and initial weights."""


def deal(arm: np.ndarray, unit: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """`(n,)` number of each row's fold: units whole, each arm's spread evenly."""
    from sklearn.model_selection import GroupKFold

    fold = np.empty(len(arm), np.int64)
    for k in np.unique(arm):
        rows = np.flatnonzero(arm == k)
        parts = GroupKFold(folds, shuffle=True, random_state=seed).split(rows, groups=unit[rows])
        for number, (_, places) in enumerate(parts):
            fold[rows[places]] = number
    return fold


def classifiers(
    inputs: "csr_matrix", arm: np.ndarray, unit: np.ndarray, config: PropensityConfig, seed: int
) -> list[Any]:
    """Classifiers of most of the units, each calibrated on the others."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    fewest = min(len(np.unique(unit[arm == k])) for k in np.unique(arm))
    parts = min(PARTS, fewest)
    part = deal(arm, unit, parts, seed + 1)
    models = []
    for number in range(parts):
        outside, inside = part != number, part == number
        if config.kind == "logistic":
            model = LogisticRegression(max_iter=1000).fit(inputs[outside], arm[outside])
        else:
            data = inputs[outside], arm[outside], inputs[inside], arm[inside]
            model = _network(*data, config, seed + number)
        calibration = CalibratedClassifierCV(FrozenEstimator(model), method=config.calibrate)
        models.append(calibration.fit(inputs[inside], arm[inside]))
    return models


def _network(
    inputs: "csr_matrix",
    arm: np.ndarray,
    held_out_inputs: "csr_matrix",
    held_out_arm: np.ndarray,
    config: PropensityConfig,
    seed: int,
) -> Any:
    """A network as it was when it told the held-out rows' arms best: one that goes on learning
    rows by heart is calibrated towards the shares, and weighted training towards pooling."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    random = np.random.RandomState(seed)
    batch = min(BATCH, len(arm))
    model = MLPClassifier(
        config.hidden, batch_size=batch, learning_rate_init=RATE, random_state=random
    )
    arms, best_loss, passes = np.unique(arm), np.inf, 0
    parameters: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _ in range(config.epochs):
        model.partial_fit(inputs, arm, classes=arms)
        loss = log_loss(held_out_arm, model.predict_proba(held_out_inputs), labels=arms)
        passes += 1
        if loss < best_loss:
            best_loss, passes = loss, 0
            parameters = [w.copy() for w in model.coefs_], [b.copy() for b in model.intercepts_]
        if passes == PATIENCE:
            break
    model.coefs_, model.intercepts_ = parameters
    return model
