"""`python -m benchmarks.gpu`: the same work on an NVIDIA GPU, against what the card can do."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figure import RESULTS, Figure, per_second, save, to_rich
from benchmarks.logs import Size, make_run, write_logs
from benchmarks.rounds import interleave
from benchmarks.scoring import make_bundle, make_weights
from benchmarks.training import read, train, wait
from features.arrays import to_arrays
from features.prepare import prepare
from models.trunks.mmoe import MMoEConfig
from pipelines.distributed import process_group
from serving.session import Device, Session

FIELDS, TASKS = 27, 3
CARD = Size(batch_size=65_536, steps=8)
SIDE = 8192
"""Rows and columns of the matrices whose product sets the card's rate."""
PRODUCTS, TRUNK = "bf16 matrix products, square", "MMoE trunk in bf16, forward and backward"
FP32, BF16, READING = "training, fp32", "training, bf16", "reading alone"
CPU, CUDA = "scoring prepared rows, CPU", "scoring prepared rows, CUDA with bound buffers"


def main() -> None:
    """Show each figure as soon as it is there."""
    if not torch.cuda.is_available():
        sys.exit("no NVIDIA GPU that torch can use; `fulcrum doctor` says what is missing")
    warnings.simplefilter("ignore")
    console = Console()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_logs(folder, CARD)
        for measure in (
            lambda: trunk(torch.device("cuda"), CARD, SIDE),
            lambda: training(folder, CARD),
            lambda: scoring(folder, CARD, "cuda"),
        ):
            found = measure()
            console.print(to_rich("", found))
            figures += found
    save(RESULTS / "gpu.md", torch.cuda.get_device_name(), figures)


def trunk(device: torch.device, size: Size, side: int) -> list[Figure]:
    """The dense part's share of the card's own rate of bf16 products."""
    rates = interleave(
        size.rounds, {PRODUCTS: multiply(device, side), TRUNK: step_trunk(device, size)}
    )
    return [
        per_second(rates, TRUNK, "TFLOP/s", limit=PRODUCTS),
        per_second(rates, PRODUCTS, "TFLOP/s"),
    ]


def multiply(device: torch.device, side: int) -> Callable[[], float]:
    """Square products; gives 10^12 operations."""
    a, b, out = torch.randn(3, side, side, device=device, dtype=torch.bfloat16)
    repeats = 20

    def products() -> float:
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        wait(device)
        return repeats * 2 * side**3 / 1e12

    return products


def step_trunk(device: torch.device, size: Size) -> Callable[[], float]:
    """Forward and backward of the trunk as training runs it; gives 10^12 operations."""
    config = MMoEConfig()
    network = config.build(list(map(str, range(FIELDS))), list(map(str, range(TASKS)))).to(device)
    fields = torch.randn(size.batch_size, FIELDS, config.embedding_dim, device=device)
    fields.requires_grad_()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            z = network(fields.to(torch.bfloat16))
        z.float().mean().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()

    def steps() -> float:
        for _ in range(size.steps):
            step()
        wait(device)
        return size.steps * flops / 1e12

    return steps


def training(folder: Path, size: Size) -> list[Figure]:
    """Whole steps from prepared Parquet, with NCCL and tables on the card where there is one, and
    whether the reader keeps up."""
    fp32, bf16 = (make_run(folder, size, precision=precision) for precision in ("fp32", "bf16"))
    dataset = prepare(fp32, Path(fp32.workspace))
    with process_group() as process:
        actions = {
            FP32: train(fp32, dataset, folder / "fp32", process, size.steps),
            BF16: train(bf16, dataset, folder / "bf16", process, size.steps),
            READING: read(dataset, size),
        }
        rates = interleave(size.rounds, actions)
    return [
        per_second(rates, BF16, limit=FP32),
        per_second(rates, READING, limit=BF16),
        per_second(rates, FP32),
    ]


def scoring(folder: Path, size: Size, device: Device) -> list[Figure]:
    """The graph through ONNX Runtime on `device` and on the CPU."""
    run = make_run(folder, size)
    dataset = prepare(run, Path(run.workspace))
    bundle = make_bundle(folder / "model", run, dataset, make_weights(run, dataset))
    layout = dataset.state.layout
    rows = pl.scan_parquet(dataset.shards("test")).head(4 * size.batch_size).collect()
    arrays = to_arrays(rows, layout)

    def score(session: Session) -> Callable[[], float]:
        def action() -> float:
            session.run(arrays)
            return rows.height

        return action

    actions = {
        CPU: score(Session(bundle.graph, layout, "cpu")),
        CUDA: score(Session(bundle.graph, layout, device, size.batch_size)),
    }
    rates = interleave(size.rounds, actions)
    return [per_second(rates, CUDA, limit=CPU), per_second(rates, CPU)]


if __name__ == "__main__":
    main()
