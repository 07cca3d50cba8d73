"""Where the tables lie: whose memory they take, and what is said when they are too large."""

import logging
import warnings
from collections.abc import Iterator
from typing import cast

import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer
from torchrec import EmbeddingBagCollection, EmbeddingCollection
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import PlannerError
from torchrec.distributed.types import EmbeddingModuleShardingPlan
from torchrec.modules.embedding_configs import BaseEmbeddingConfig
from torchrec.optim import Adam
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

from fulcrum.features.errors import ResourceError
from fulcrum.pipelines.config.run import TrainConfig
from fulcrum.pipelines.training import memory
from fulcrum.pipelines.training.optimizer import of_tables
from fulcrum.pipelines.training.processes import Process

for _noisy in ("torchrec", "torch.fx._symbolic_trace"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)


def distribute(
    network: nn.Module, config: TrainConfig, process: Process
) -> DistributedModelParallel:
    """Lay the tables out over the processes, with their optimizer in backward.

    Sharding and kernel are stated for every table: left free, the planner gives small tables a
    kernel that ignores the optimizer in backward. Raises ResourceError for an optimizer that the
    tables' kernel does not have on this device, and for tables that do not fit.
    """
    parameters = dict(network.get_submodule("tables").named_parameters(prefix="tables"))
    optimizer, settings = of_tables(config.sparse, process)
    apply_optimizer_in_backward(optimizer, parameters.values(), settings)
    tables = list(_tables(network))
    counted = min((_counted(table, optimizer, process) for table in tables), default=1.0)
    planner = EmbeddingShardingPlanner(
        topology=Topology(
            process.world,
            process.device.type,
            hbm_cap=int(counted * memory.of_device(process)),
            ddr_cap=int(counted * memory.of_host(process)),
            local_world_size=process.local_world,
        ),
        constraints={
            table.name: ParameterConstraints(
                sharding_types=["table_wise"], compute_kernels=["fused"]
            )
            for table in tables
        },
        storage_reservation=FixedPercentageStorageReservation(0),  # `memory` keeps it back
    )
    try:
        plan = planner.collective_plan(network, get_default_sharders(), dist.group.WORLD)
    except PlannerError:
        raise ResourceError(_too_large(tables, optimizer, process)) from None
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


def _too_large(
    tables: list[BaseEmbeddingConfig], optimizer: type[Optimizer], process: Process
) -> str:
    """Which table is the largest, how large, what there is, and how many of its rows would fit."""
    row = {table.name: _row_bytes(table, optimizer, process) for table in tables}
    sizes = {table.name: row[table.name] * table.num_embeddings for table in tables}
    table = max(tables, key=lambda table: sizes[table.name])
    size, total = sizes[table.name], sum(sizes.values())
    cap = memory.of_device(process) or memory.of_host(process)
    room = min(cap, cap * process.world - (total - size))
    rows = _round_down(room / row[table.name])
    processes = "each process" if process.world > 1 else "this process"
    return (
        f"the embedding tables take {memory.as_text(total)} with their optimizer, and {processes} "
        f"has {memory.as_text(cap)} for them: the largest, `{table.name}`, has "
        f"{table.num_embeddings:,} rows of {table.embedding_dim}, {memory.as_text(size)}, of which "
        f"{f'about {rows:,}' if rows else 'none'} would fit; expected fewer rows (`min_count` or "
        "`hash_buckets` of the feature) or a smaller `model.embedding_dim`"
    )


def _row_bytes(table: BaseEmbeddingConfig, optimizer: type[Optimizer], process: Process) -> int:
    """Of one row and what its optimizer keeps of it: Adam two numbers for each of the row's,
    Adagrad one, to which FBGEMM's CowClip kernel, which is that of CPUs, adds two counts."""
    if optimizer is Adam:
        state = 2 * table.embedding_dim
    else:
        state = 1 if process.device.type == "cuda" else 3
    return _weight_bytes(table) + 4 * state


def _counted(table: BaseEmbeddingConfig, optimizer: type[Optimizer], process: Process) -> float:
    """Share of a table's memory that TorchRec's planner counts. It knows nothing of the counts, and
    takes the optimizer's numbers to be as wide as the table's. What it may fill is made smaller by
    that share, for it has no place to be told so."""
    width = table.embedding_dim
    planned = _weight_bytes(table) * (3 if optimizer is Adam else 1 + 1 / width)
    return min(1.0, planned / _row_bytes(table, optimizer, process))


def _weight_bytes(table: BaseEmbeddingConfig) -> int:
    return 4 * table.embedding_dim


def _round_down(rows: float) -> int:
    """To two digits, a little below: batches take some of the room."""
    below = max(0, int(0.97 * rows))
    unit = 10 ** max(0, len(str(below)) - 2)
    return below // unit * unit


def _tables(module: nn.Module) -> Iterator[BaseEmbeddingConfig]:
    for part in module.modules():
        if isinstance(part, EmbeddingBagCollection):
            yield from part.embedding_bag_configs()
        elif isinstance(part, EmbeddingCollection):
            yield from part.embedding_configs()
