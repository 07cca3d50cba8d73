"""Losses and speed of the training loop, summed on the device between two reports."""

import time

import torch
from torch import Tensor

from fulcrum.models.part import AUXILIARY


class Meter:
    """What happened since the last report, summed on the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.auxiliary: dict[str, Tensor] = {}
        self.steps = self.rows = 0
        self.began = time.monotonic()

    def add(self, out: dict[str, Tensor], world: int) -> None:
        """One step of the network on each of `world` processes."""
        step = torch.stack([out["losses"], out["weights"]])
        self.sums = step if self.sums is None else self.sums + step
        for name, value in out.items():
            if name.startswith(AUXILIARY):
                self.auxiliary[name] = self.auxiliary.get(name, 0) + value
        self.steps += 1
        self.rows += len(out["scores"]) * world

    def mean_losses(self) -> list[float]:
        """By task."""
        return self._means()[0]

    def mean_weights(self) -> list[float]:
        """By task."""
        return self._means()[1]

    def mean_auxiliary(self) -> dict[str, float]:
        """The parts' auxiliary losses by `auxiliary/<name>`, on this process."""
        return {name: (total / self.steps).item() for name, total in self.auxiliary.items()}

    def rows_per_second(self) -> float:
        """Over all processes."""
        return self.rows / max(time.monotonic() - self.began, 1e-9)

    def _means(self) -> list[list[float]]:
        assert self.sums is not None
        return (self.sums / self.steps).tolist()
