"""Whether a network was judged with its learning rates run down.

Training keeps the weights of the best evaluation. Where that lies early on a schedule that falls to
0 at the last step, they are those of a network that still moves in large steps: another number of
epochs would have shown it better, and the comparison with networks that were annealed is not fair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fulcrum.features.errors import listed
from fulcrum.pipelines.config.run import TrainConfig
from fulcrum.pipelines.training.optimizer import share_of_peak
from fulcrum.pipelines.training.trainer import TrainResult

ANNEALED = 0.1
"""Share of their peak to which learning rates have fallen in a network that is annealed."""


@dataclass(frozen=True)
class Kept:
    """When in a training the weights that it kept were made."""

    seed: int
    step: int
    steps: int
    """Of the whole schedule."""
    trained: int
    """Steps until it stopped."""
    rate: float
    """Learning rates at that step, as a share of their peaks."""

    @property
    def annealed(self) -> bool:
        """Whether learning rates had run down."""
        return self.rate <= ANNEALED


def kept(config: TrainConfig, rows: int, result: TrainResult) -> Kept:
    """From what a training on so many rows has left."""
    steps = config.epochs * -(-rows // config.batch_size)
    trained = max([result.step, *(step for step, _ in result.history)])
    rate = 0.0 if config.decay == "none" else share_of_peak(config, steps, result.step)
    return Kept(config.seed, result.step, steps, trained, rate)


def note(runs: Sequence[Kept]) -> str | None:
    """What has to be said of a network, whose seeds these are; None where all are annealed."""
    hot = [run for run in runs if not run.annealed]
    if not hot:
        return None
    of = "seed" if len(hot) == 1 else "seeds"
    seeds = f"{of} {listed([str(run.seed) for run in hot])}: "
    steps = listed([f"{run.step:,} of {run.steps:,}" for run in hot])
    rates = listed([f"{run.rate:.0%}" for run in hot])
    early = sum(run.trained < run.steps for run in hot)
    stopped = (
        "; stopped early" if early == len(hot) else f"; {early} stopped early" if early else ""
    )
    return (
        f"not annealed: {seeds}weights of step {steps}, learning rates at {rates} of their peaks"
        f"{stopped}"
    )
