"""What every design of a test in the loop shares: which rows each arm's model learns from."""

from typing import NamedTuple

import numpy as np

from fulcrum.features.config import Config


class Weights(NamedTuple):
    """Of the rows of one step, `(replications, users)` each."""

    treatment: np.ndarray
    """In the loss of the treatment's model."""
    control: np.ndarray
    """In the loss of the control's."""


class Estimator:
    """One design for a batch of replications."""

    def weigh(self, videos: np.ndarray, treated: np.ndarray) -> Weights:
        """Weights of the rows that a step has logged; what is learned from them counts from the
        next step on.

        `videos` are those on show, `(replications, users, width)`, `treated` is bool.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, float]:
        """Numbers about the last step, mean over replications."""
        return {}


class EstimatorConfig(Config):
    """One design; `build` gives it for so many replications."""

    design: str

    def build(self, replications: int, width: int, share: float, seed: int) -> Estimator:
        """`width` is the length of a row, `share` the share of treated users."""
        raise NotImplementedError
