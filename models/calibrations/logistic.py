"""Logistic regression on a few columns made of a logit."""

import warnings

import numpy as np

EVENTS = 10
"""Rows of the rarer class for each number to be fitted (Peduzzi et al., A simulation study of the
number of events per variable in logistic regression analysis, 1996)."""


def logistic(
    columns: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[list[float], float] | None:
    """Slopes and offset of the greatest likelihood, `(rows, columns), (rows,), (rows,)`; None
    unless every slope is above 0, and where events are too few for so many numbers."""
    from scipy.linalg import LinAlgWarning
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    numbers = columns.shape[1] + 1
    if rarer(target) < EVENTS * numbers:
        return None
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8)
    with warnings.catch_warnings():
        # Columns that hardly differ; the slopes are then refused or held against held-out rows.
        for warning in (ConvergenceWarning, LinAlgWarning):
            warnings.simplefilter("ignore", warning)
        model.fit(columns, target > 0, sample_weight=weight / weight.mean())
    slopes, offset = model.coef_[0], float(model.intercept_[0])
    if not (np.isfinite(slopes).all() and np.isfinite(offset) and (slopes > 0).all()):
        return None
    return slopes.tolist(), offset


def rarer(target: np.ndarray) -> int:
    """Rows of the class that has fewer."""
    positives = int((target > 0).sum())
    return min(positives, len(target) - positives)
