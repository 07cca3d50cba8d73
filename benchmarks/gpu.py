"""`python -m benchmarks.gpu`: the same work on an NVIDIA GPU, against what the card can do."""

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import torch

from benchmarks.figure import RESULTS, Figure, per_second, save, show
from benchmarks.logs import Size, make_run, write_logs
from benchmarks.rounds import interleave
from benchmarks.scoring import make_bundle, make_weights
from benchmarks.training import read, train, wait
from benchmarks.trunks import step
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.models.trunks import TRUNKS
from fulcrum.pipelines.training.processes import process_group
from fulcrum.serving.scoring.onnx_session import Device, Session

CARD = Size(batch_size=65_536, steps=8)
SIDE = 8192
"""Rows and columns of the matrices whose product sets the card's rate."""
PRODUCTS = "bf16 matrix products, square"
FP32, BF16, READING = "training, fp32", "training, bf16", "reading alone"
CPU, CUDA = "scoring prepared rows, CPU", "scoring prepared rows, CUDA with bound buffers"


def main() -> None:
    """Show each figure as soon as it is there."""
    if not torch.cuda.is_available():
        sys.exit("no NVIDIA GPU that torch can use; `fulcrum doctor` says what is missing")
    warnings.simplefilter("ignore")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_logs(folder, CARD)
        for measure in (
            lambda: trunks(torch.device("cuda"), CARD, SIDE, list(TRUNKS)),
            lambda: training(folder, CARD),
            lambda: scoring(folder, CARD, "cuda"),
        ):
            measured = measure()
            show("", measured)
            figures += measured
    save(RESULTS / "gpu.md", torch.cuda.get_device_name(), {"python -m benchmarks.gpu": figures})


def trunks(device: torch.device, size: Size, side: int, names: Sequence[str]) -> list[Figure]:
    """Every network's share of the card's own rate of bf16 products, as it is and compiled."""
    products = {PRODUCTS: multiply(device, side)}
    figures: list[Figure] = []
    for name in names:
        rates = products | {
            f"{name}{how}": step(
                TRUNKS[name](), size.batch_size, device, torch.bfloat16, compiled, size.steps
            )
            for how, compiled in (("", False), (", compiled", True))
        }
        timed = interleave(size.rounds, rates)
        figures += [
            per_second(timed, what, "GFLOP/s", limit=PRODUCTS, aim=0.5)
            for what in rates
            if what != PRODUCTS
        ]
    return [*figures, per_second(timed, PRODUCTS, "GFLOP/s")]


def multiply(device: torch.device, side: int) -> Callable[[], float]:
    """Square products; gives 10^9 operations."""
    a, b, out = torch.randn(3, side, side, device=device, dtype=torch.bfloat16)
    repeats = 20

    def products() -> float:
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        wait(device)
        return repeats * 2 * side**3 / 1e9

    return products


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
    rows = pl.scan_parquet(dataset.shards("test"), glob=False).head(4 * size.batch_size).collect()
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
