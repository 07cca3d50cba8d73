"""When to stop, and which weights to keep."""

import math
from dataclasses import dataclass

from fulcrum.pipelines.config.run import EarlyStoppingConfig
from fulcrum.pipelines.quality.metrics import HIGHER_IS_BETTER


@dataclass
class EarlyStopping:
    """Follows one metric of the validation split. Without a config nothing stops and nothing is
    best. An evaluation where the metric is not defined counts neither way; one where it is not a
    number is a miss."""

    config: EarlyStoppingConfig | None
    best: float | None = None
    best_step: int | None = None
    misses: int = 0
    """Evaluations since the best one."""

    def update(self, value: float | None, step: int) -> bool:
        """Whether this evaluation is the best so far."""
        if self.config is None or value is None:
            return False
        higher = self.config.metric.partition("/")[0] in HIGHER_IS_BETTER
        is_better = self.best is None or (value > self.best if higher else value < self.best)
        if is_better and not math.isnan(value):
            self.best, self.best_step, self.misses = value, step, 0
            return True
        self.misses += 1
        return False

    @property
    def over(self) -> bool:
        """Whether training should stop."""
        return self.config is not None and self.misses >= self.config.patience

    def state_dict(self) -> dict[str, float | int | None]:
        # Checkpoints have always called the misses `waited`.
        return {"best": self.best, "best_step": self.best_step, "waited": self.misses}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.best_step, self.misses = (
            state[name] for name in ("best", "best_step", "waited")
        )
