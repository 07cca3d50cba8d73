"""What every calibration promises: a strictly increasing map of what a score is the inverse link
of, fitted on rows that the network was not trained on, kept as plain numbers."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
import torch

from fulcrum.features.config import Config
from fulcrum.features.tasks.base import Link
from fulcrum.models.calibrations.increasing import Increasing, Terms


class Calibration(Config, ABC):
    """Fitted. A subclass adds `kind` and the numbers of its map."""

    source: ClassVar[str]
    """Paper, year and section or equation."""
    links: ClassVar[frozenset[Link]]
    """Scores on which scales it puts right."""
    kind: str

    @classmethod
    @abstractmethod
    def fit(cls, value: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Self | None:
        """From linked scores, what they should be the mean of, and weights above 0, `(rows,)`
        float64 each; None where the rows are too few for it or ask for a map that falls."""

    @property
    @abstractmethod
    def terms(self) -> Terms:
        """The map."""

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The map of numbers, `(rows,) -> (rows,)` float64."""
        columns = torch.from_numpy(np.asarray(value, np.float64))[:, None]
        return Increasing([self.terms]).double()(columns)[:, 0].numpy()
