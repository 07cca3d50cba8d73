"""What the networks themselves cost, with tables left out: time against bare layers, and memory."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size
from benchmarks.rounds import interleave
from benchmarks.training import THREADS, wait
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.models.trunks.ple import PLEConfig
from fulcrum.pipelines.training.malloc import keep_freed_memory

CPU = torch.device("cpu")
FIELDS = [f"field_{f}" for f in range(27)]
TASKS = [f"task_{t}" for t in range(5)]
PLE = PLEConfig(levels=((256,), (128,), (64,)), task_experts=2, shared_experts=2)
DENSE, EAGER, COMPILED = (
    "dense layers of PLE's size, forward and backward",
    "PLE of 3 levels for 5 tasks, forward and backward",
    "the same, compiled",
)


def fusion(folder: Path, size: Size) -> list[Figure]:
    """PLE's rate of operations against that of bare layers, and what compiling it brings. The aim:
    at most 1.3 times as long for as much work."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()  # as training does
    actions = {
        DENSE: step_layers(PLE, size.batch_size),
        EAGER: step(PLE, size.batch_size),
        COMPILED: step(PLE, size.batch_size, compiled=True),
    }
    rates = interleave(size.rounds, actions)
    return [
        per_second(rates, EAGER, "GFLOP/s", limit=DENSE, aim=1 / 1.3),
        per_second(rates, COMPILED, "GFLOP/s", limit=EAGER),
        per_second(rates, DENSE, "GFLOP/s"),
    ]


def memory(folder: Path, size: Size) -> list[Figure]:
    """What a step keeps for its backward pass, per row, as experts are doubled."""
    configs = {
        f"MMoE, {experts} experts": MMoEConfig(experts=experts) for experts in (8, 16, 32)
    } | {
        f"PLE, {2 * m * (len(TASKS) + 1)} experts": PLEConfig(task_experts=m, shared_experts=m)
        for m in (1, 2, 4)
    }
    return [
        Figure(
            f"{name}: kept for backward", f"{bytes_per_row(config, 512) / 2**10:.1f} KiB per row"
        )
        for name, config in configs.items()
    ]


def step(
    config: TrunkConfig,
    rows: int,
    device: torch.device = CPU,
    precision: torch.dtype = torch.float32,
    compiled: bool = False,
    repeats: int = 4,
) -> Callable[[], float]:
    """Forward and backward of a trunk as training runs it; gives 10^9 operations."""
    trunk = config.build(FIELDS, TASKS).to(device)
    fields = make_fields(config, rows, device)

    def forward_backward(run: Callable[[Tensor], Tensor]) -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            z = run(fields.to(precision))
        z.float().mean().backward()

    with FlopCounterMode(display=False) as counter:
        forward_backward(trunk)
    run = torch.compile(trunk) if compiled else trunk
    operations = repeats * counter.get_total_flops() / 1e9

    def steps() -> float:
        for _ in range(repeats):
            forward_backward(run)
        wait(device)
        return operations

    return steps


def step_layers(config: PLEConfig, rows: int, repeats: int = 4) -> Callable[[], float]:
    """A linear layer and a ReLU for the experts of each level, as many operations as theirs."""
    experts = config.task_experts * len(TASKS) + config.shared_experts
    widths = [len(FIELDS) * config.embedding_dim, *config.path]
    layers = [nn.Linear(i, experts * o) for i, o in pairwise(widths)]
    inputs = [torch.randn(rows, layer.in_features, requires_grad=True) for layer in layers]

    def forward_backward() -> None:
        for layer, x in zip(layers, inputs, strict=True):
            F.relu(layer(x), inplace=True).mean().backward()

    with FlopCounterMode(display=False) as counter:
        forward_backward()
    operations = repeats * counter.get_total_flops() / 1e9

    def steps() -> float:
        for _ in range(repeats):
            forward_backward()
        return operations

    return steps


def bytes_per_row(config: TrunkConfig, rows: int) -> float:
    """Bytes per row that a forward pass holds for backward, parameters left out."""
    trunk, fields = config.build(FIELDS, TASKS), make_fields(config, rows, CPU)
    parameters = {p.untyped_storage().data_ptr() for p in trunk.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        z = trunk(fields)
    held = sum(sizes.values())
    del z
    return held / rows


def make_fields(config: TrunkConfig, rows: int, device: torch.device) -> Tensor:
    """Random fields, made where they are used."""
    fields = config.copies(len(TASKS)) * len(FIELDS)
    shape = rows, fields, config.embedding_dim
    return torch.randn(shape, device=device, requires_grad=True)
