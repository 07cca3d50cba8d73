"""The optimizers of tables and dense part, and their learning rates."""

import math
from typing import Any

import torch
from fbgemm_gpu.tbe.config.optimizer_config import (
    CounterWeightDecayMode,
    CowClipDefinition,
    WeightDecayMode,
)
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim import Adam, RowWiseAdagrad
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.optimizers import in_backward_optimizer_filter

from fulcrum.features.errors import ResourceError
from fulcrum.pipelines.config.run import SparseOptimizerConfig, TrainConfig
from fulcrum.pipelines.training.processes import Process


class Optimizers:
    """The dense part's AdamW and the tables' fused optimizer, on one schedule.

    A step is `zero_grad` (which sets the learning rates: the tables update within backward),
    forward, backward, `step`.
    """

    def __init__(self, model: DistributedModelParallel, config: TrainConfig, steps: int) -> None:
        """`steps` is the length of the whole training, at whose end the rates reach 0."""
        self.config, self.steps, self.position = config, steps, 0
        self.tables: KeyedOptimizer = model.fused_optimizer
        self.dense = KeyedOptimizerWrapper(
            dict(in_backward_optimizer_filter(model.named_parameters())),
            lambda parameters: torch.optim.AdamW(
                parameters,
                lr=config.dense.lr,
                weight_decay=config.dense.weight_decay,
                fused=True,
            ),
        )

    def zero_grad(self) -> None:
        """Drop the gradients and set the learning rates of the step to come."""
        share = self.share(self.position)
        for optimizer, peak in (
            (self.dense, self.config.dense.lr),
            (self.tables, self.config.sparse.lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.zero_grad()

    def step(self) -> None:
        """Update the dense part; the tables were updated in backward."""
        self.dense.step()
        self.position += 1

    def share(self, step: int) -> float:
        """Learning rates of a step as a share of their peaks."""
        return share_of_peak(self.config, self.steps, step)

    def state_dict(self) -> dict[str, Any]:
        """The tensors of both optimizers, by parameter name; loading fills them in place."""
        return CombinedOptimizer([("tables", self.tables), ("dense", self.dense)]).state_dict()

    def make_state(self) -> None:
        """Make the tensors that the first step would make, to be filled by a checkpoint. Weights
        move by their decay, so fill those too."""
        self.dense.init_state()
        self.dense.zero_grad()

    def skip_to(self, step: int) -> None:
        """Go on after so many steps."""
        self.position = step
        self.tables.set_optimizer_step(step)


def share_of_peak(config: TrainConfig, steps: int, step: int) -> float:
    """Learning rates of a step as a share of their peaks, in a training of so many `steps`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    remainder = (steps - step) / max(steps - warmup, 1)
    if config.decay == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * remainder)
    return remainder if config.decay == "linear" else 1.0


def of_tables(
    config: SparseOptimizerConfig, process: Process
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer that the tables step by within backward, and its settings. Raises ResourceError
    for one that their kernel does not have on this device."""
    if config.kind == "adam":
        if process.device.type == "cpu":
            raise ResourceError(
                "train.sparse.kind: `adam` within backward needs a GPU; `rowwise_adagrad` runs here"
            )
        return Adam, {"lr": config.lr, "weight_decay": config.weight_decay}
    settings = {"lr": config.lr, "weight_decay": config.weight_decay}
    if process.device.type == "cuda":
        return RowWiseAdagrad, settings | {"weight_decay_mode": WeightDecayMode.L2}
    # FBGEMM's plain CPU kernel drops the weight decay, and mixes SSE into AVX code, which costs
    # 400 ns a row on recent Xeons. Its CowClip kernel with a bound that never clips does the same
    # arithmetic, decay included, about three times as fast.
    return RowWiseAdagrad, settings | {
        "weight_decay_mode": WeightDecayMode.COWCLIP,
        "cowclip_regularization": CowClipDefinition(
            counter_weight_decay_mode=CounterWeightDecayMode.L2,
            counter_halflife=0,
            lower_bound=1e30,
        ),
    }
