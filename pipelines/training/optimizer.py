"""Where the tables lie, the optimizers of tables and dense part, and their learning rates."""

import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from fbgemm_gpu.tbe.config.optimizer_config import (
    CounterWeightDecayMode,
    CowClipDefinition,
    WeightDecayMode,
)
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingCollection
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import PlannerError
from torchrec.distributed.types import EmbeddingModuleShardingPlan
from torchrec.modules.embedding_configs import BaseEmbeddingConfig
from torchrec.optim import Adam, RowWiseAdagrad
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.optimizers import in_backward_optimizer_filter

from fulcrum.features.cause import first_line
from fulcrum.features.errors import ResourceError
from fulcrum.pipelines.config.run import SparseOptimizerConfig, TrainConfig
from fulcrum.pipelines.training.processes import Process

for _noisy in ("torchrec", "torch.fx._symbolic_trace"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)


def distribute(
    network: nn.Module, config: SparseOptimizerConfig, process: Process
) -> DistributedModelParallel:
    """Lay the tables out over the processes, whole tables each, with their optimizer in backward.

    Sharding and kernel are stated for every table: left free, the planner gives small tables a
    kernel that ignores the optimizer in backward. Raises ResourceError for an optimizer that the
    tables' kernel does not have on this device, and for tables that do not fit.
    """
    tables = dict(network.get_submodule("tables").named_parameters(prefix="tables"))
    optimizer, settings = _table_optimizer(config, process)
    apply_optimizer_in_backward(optimizer, tables.values(), settings)
    constraints = {
        table.name: ParameterConstraints(sharding_types=["table_wise"], compute_kernels=["fused"])
        for table in _tables(network)
    }
    planner = EmbeddingShardingPlanner(
        topology=Topology(process.world, process.device.type),
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(0.15),
    )
    try:
        plan = planner.collective_plan(network, get_default_sharders(), dist.group.WORLD)
    except PlannerError as error:
        raise ResourceError(f"the embedding tables do not fit: {first_line(error)}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = DistributedModelParallel(
            network, device=process.device, plan=plan, init_data_parallel=process.world > 1
        )
    model.module.to(process.device)
    tables_here = {
        table
        for module in plan.plan.values()
        for table, place in cast(EmbeddingModuleShardingPlan, module).items()
        if process.rank in (place.ranks or ())
    }
    tables_in_backward = {name.split(".")[-2] for name in model.fused_optimizer.params}
    if difference := tables_in_backward ^ tables_here:
        raise AssertionError(f"tables here and tables stepped in backward differ: {difference}")
    return model


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


def _table_optimizer(
    config: SparseOptimizerConfig, process: Process
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
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


def _tables(module: nn.Module) -> Iterator[BaseEmbeddingConfig]:
    for part in module.modules():
        if isinstance(part, EmbeddingBagCollection):
            yield from part.embedding_bag_configs()
        elif isinstance(part, EmbeddingCollection):
            yield from part.embedding_configs()
