"""Where the tables lie: whose memory they take, and what is said when they are too large."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer
from torchrec import EmbeddingBagCollection, EmbeddingCollection
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import PlannerError
from torchrec.distributed.types import EmbeddingModuleShardingPlan, ModuleSharder
from torchrec.modules.embedding_configs import BaseEmbeddingConfig, data_type_to_dtype
from torchrec.optim import Adam
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

from fulcrum.features.errors import ResourceError
from fulcrum.models.embedding.vectors import table_name
from fulcrum.models.network import Network
from fulcrum.pipelines.config.rules import COLUMNS
from fulcrum.pipelines.config.run import TableConfig, TrainConfig
from fulcrum.pipelines.training.optimizer import of_tables
from fulcrum.pipelines.training.processes import Process
from fulcrum.pipelines.training.tables import memory

for _noisy in ("torchrec", "torch.fx._symbolic_trace"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)


class PooledTables(EmbeddingBagCollectionSharder):
    """TorchRec offers no rows of pooled tables to CPUs, from when gloo had no reduce-scatter."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list(dict.fromkeys([*super().sharding_types(compute_device_type), "row_wise"]))


SHARDERS: list[ModuleSharder[nn.Module]] = [PooledTables(), EmbeddingCollectionSharder()]
KERNELS = {"fused": "fused", "uvm_caching": "fused_uvm_caching"}
"""What TorchRec calls them."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def table_dtypes(config: TrainConfig) -> dict[str, torch.dtype]:
    """Types of the weights of those tables of which the config says anything, by name."""
    return {name: DTYPES[table.precision] for name, table in config.tables.items()}


def distribute(network: Network, config: TrainConfig, process: Process) -> DistributedModelParallel:
    """Lay the tables out over the processes, with their optimizer in backward.

    Sharding and kernel are stated for every table: left free, the planner gives small tables a
    kernel that ignores the optimizer in backward. Raises ResourceError for an optimizer or a kernel
    that this device does not have, and for tables that do not fit.
    """
    kinds = {
        table_name(table.name, copy, network.objective.copies): config.tables.get(
            table.name, TableConfig()
        )
        for table in network.objective.layout.tables
        for copy in range(network.objective.copies)
    }
    for table, kind in config.tables.items():
        _check(table, kind, process)
    optimizer, settings = of_tables(config.sparse, process)
    apply_optimizer_in_backward(optimizer, network.tables.parameters(), settings)
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
            table.name: _constraints(table, kinds[table.name], process) for table in tables
        },
        storage_reservation=FixedPercentageStorageReservation(0),  # `memory` keeps it back
    )
    try:
        plan = planner.collective_plan(network, SHARDERS, dist.group.WORLD)
    except PlannerError:
        raise ResourceError(_too_large(tables, kinds, optimizer, process)) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = DistributedModelParallel(
            network,
            device=process.device,
            plan=plan,
            sharders=SHARDERS,
            init_data_parallel=process.world > 1,
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


def _check(name: str, table: TableConfig, process: Process) -> None:
    """Raises ResourceError for what the device cannot do."""
    if table.kernel == "uvm_caching" and process.device.type == "cpu":
        raise ResourceError(
            f"train.tables.{name}.kernel: `uvm_caching` keeps a table's busiest rows on a GPU, and "
            "there is none here; expected `fused`"
        )


def _constraints(
    table: BaseEmbeddingConfig, kind: TableConfig, process: Process
) -> ParameterConstraints:
    # One process has every table whole, whatever is asked of more.
    sharding = kind.sharding if process.world > 1 else "table_wise"
    columns = _columns(table, process) if sharding == "column_wise" else None
    return ParameterConstraints(
        sharding_types=[sharding],
        compute_kernels=[KERNELS[kind.kernel]],
        min_partition=columns,
    )


def _columns(table: BaseEmbeddingConfig, process: Process) -> int:
    """Of a piece: TorchRec leaves a table whole that they do not divide. The fewest of which no
    process needs two, or the fewest at all where that would be the whole table."""
    width = table.embedding_dim
    return next(
        (
            columns
            for columns in range(COLUMNS, width, COLUMNS)
            if width % columns == 0 and columns * process.world >= width
        ),
        COLUMNS,
    )


def _spread(table: BaseEmbeddingConfig, kind: TableConfig, process: Process) -> float:
    """How many times what a table takes of the process that has most of it the whole takes."""
    if kind.sharding == "row_wise":
        return process.world
    if kind.sharding == "table_wise" or process.world == 1:
        return 1
    pieces = table.embedding_dim // _columns(table, process)
    return pieces / math.ceil(pieces / process.world)


def _too_large(
    tables: list[BaseEmbeddingConfig],
    kinds: Mapping[str, TableConfig],
    optimizer: type[Optimizer],
    process: Process,
) -> str:
    """Which table is the largest, how large, what there is, and how many of its rows would fit."""
    on_host = {t.name for t in tables if kinds[t.name].kernel == "uvm_caching"}
    device, host = memory.of_device(process), memory.of_host(process)
    row = {t.name: _row_bytes(t, optimizer, process) for t in tables}
    # Of the two memories that one which is short of more.
    groups = [
        (cap, group)
        for cap, group in (
            (device or host, [t for t in tables if t.name not in on_host]),
            (host, [t for t in tables if t.name in on_host]),
        )
        if group
    ]
    totals = [sum(row[t.name] * t.num_embeddings for t in group) for _, group in groups]
    worst = max(range(len(groups)), key=lambda i: totals[i] / groups[i][0])
    (cap, group), total = groups[worst], totals[worst]
    table = max(group, key=lambda t: row[t.name] * t.num_embeddings)
    size, kind = row[table.name] * table.num_embeddings, kinds[table.name]
    spread = _spread(table, kind, process)
    beside = cap * process.world - (total - size)
    rows = _round_down(min(cap * spread, beside) / row[table.name])
    processes = f"each of {process.world} processes" if process.world > 1 else "this process"
    ways = ["fewer rows (`min_count` or `hash_buckets`)", "a smaller `model.embedding_dim`"]
    if kind.precision == "fp32":
        ways.append("fp16")
    if spread == 1:
        ways.append("row_wise over more GPUs or machines")
    return (
        f"the embedding tables take {memory.as_text(total)} with their optimizer, and {processes} "
        f"has {memory.as_text(cap)} for them: the largest, `{table.name}`, has "
        f"{table.num_embeddings:,} rows of {table.embedding_dim}, {memory.as_text(size)}, of which "
        f"{f'about {rows:,}' if rows else 'none'} would fit; expected {', '.join(ways[:-1])} or "
        f"{ways[-1]} (`train.tables`)"
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
    return data_type_to_dtype(table.data_type).itemsize * table.embedding_dim


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
