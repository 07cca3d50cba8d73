"""Training and reading, from prepared Parquet, against the matrix products that they need."""

import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size, make_run
from benchmarks.rounds import interleave
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.reading.reader import Reader
from fulcrum.models.layers.stacked import StackedLinear
from fulcrum.models.network import Network
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console.progress import SilentProgress
from fulcrum.pipelines.tracking.protocol import SilentTracker
from fulcrum.pipelines.training.processes import Process, process_group
from fulcrum.pipelines.training.trainer import Trainer

THREADS = 2
LIMIT, FP32, BF16, READING, SMALL, BARE, REST = (
    "fp32 matrix products of a training step alone",
    "training, fp32, loading included",
    "training, bf16, loading included",
    "reading alone",
    "training a small network, fp32, loading included",
    "its forward and backward passes and updates alone",
    "the rest of its training loop",
)
SMALL_ROWS = 1024
SMALL_NETWORK = MMoEConfig(embedding_dim=8, experts=4, expert=(128, 64), tower=(32,))


def measure(folder: Path, size: Size) -> list[Figure]:
    """A run of steps in both precisions, each from opening its files to its last update; the same
    batches read without training; and the matrix products that the steps need, bare."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    fp32 = make_run(folder, size, precision="fp32")
    bf16 = make_run(folder, size, precision="bf16")
    dataset = prepare(fp32, Path(fp32.workspace))
    with process_group() as process:
        actions = {
            LIMIT: multiply(fp32, dataset),
            FP32: train(fp32, dataset, folder / "fp32", process, size.steps),
            BF16: train(bf16, dataset, folder / "bf16", process, size.steps),
            READING: read(dataset, size),
        }
        rates = interleave(size.rounds, actions)
    return [
        per_second(rates, FP32, limit=LIMIT, aim=0.8),
        per_second(rates, BF16, limit=LIMIT, aim=1.1),
        per_second(rates, READING, limit=FP32, aim=5.0),
        per_second(rates, READING, limit=BF16),
        per_second(rates, LIMIT),
    ]


def small(folder: Path, size: Size) -> list[Figure]:
    """Training of a small network, and what a step of it costs beside the network's own work:
    reading, copy, meter, though training reads ahead. The aim: at most a millisecond."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    rows = min(SMALL_ROWS, size.batch_size)
    wide = make_run(folder, replace(size, batch_size=rows), precision="fp32")
    run = wide.model_copy(update={"model": SMALL_NETWORK})
    dataset = prepare(run, Path(run.workspace))
    with process_group() as process:
        actions = {
            SMALL: train(run, dataset, folder / "small", process, size.steps),
            BARE: repeat(run, dataset, folder / "bare", process, size.steps),
            REST: skip(run, dataset, folder / "rest", process),
        }
        rates = interleave(size.rounds, actions)
    seconds = rows / rates.median(REST)
    return [
        per_second(rates, SMALL, limit=BARE),
        Figure(REST, f"{seconds * 1e3:.2f} ms a step", 1e-3 / seconds, "1 ms", aim=1.0),
        per_second(rates, BARE),
    ]


def train(
    run: RunConfig, dataset: PreparedDataset, folder: Path, process: Process, steps: int
) -> Callable[[], float]:
    """The next steps of a run, without evaluation and checkpoints; gives rows."""
    trainer = Trainer(run, dataset, folder, process, SilentTracker(), SilentProgress())
    trainer.model.train()

    def go_on() -> float:
        rows = 0
        with closing(iter(trainer.reader)) as batches:
            some = islice(batches, steps)
            while True:
                try:
                    out = trainer.pipeline.progress(some)
                except StopIteration:
                    wait(process.device)
                    return rows
                rows += len(out["scores"])
                trainer.meter.add(out, process.world)
                trainer.weighting.after_step(trainer.after)

    return go_on


def repeat(
    run: RunConfig, dataset: PreparedDataset, folder: Path, process: Process, steps: int
) -> Callable[[], float]:
    """As many steps on one batch, by hand; gives rows."""
    trainer = Trainer(run, dataset, folder, process, SilentTracker(), SilentProgress())
    trainer.model.train()
    with closing(iter(trainer.reader)) as batches:
        batch = next(batches)

    def go_on() -> float:
        for _ in range(steps):
            trainer.optimizers.zero_grad()
            trainer.model(batch)[0].backward()
            trainer.optimizers.step()
        return steps * len(batch)

    return go_on


def skip(
    run: RunConfig, dataset: PreparedDataset, folder: Path, process: Process
) -> Callable[[], float]:
    """An epoch of the loop around the network, as if each batch gave what the first did; gives
    rows. No fewer steps: rows are read and shuffled many batches at a time."""
    trainer = Trainer(run, dataset, folder, process, SilentTracker(), SilentProgress())
    with closing(iter(trainer.reader)) as batches:
        out = trainer.pipeline.progress(batches)

    def go_on() -> float:
        rows = 0
        with closing(iter(trainer.reader)) as batches:
            for batch in batches:
                rows += len(batch.to(process.device, non_blocking=True))
                trainer.meter.add(out, process.world)
                trainer.weighting.after_step(trainer.after)
        return rows

    return go_on


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def read(dataset: PreparedDataset, size: Size) -> Callable[[], float]:
    """The same batches without training."""
    reader = Reader(dataset, "train", size.batch_size, shuffle=True)

    def go_on() -> float:
        with closing(iter(reader)) as batches:
            return sum(len(batch) for batch in islice(batches, size.steps))

    return go_on


def multiply(run: RunConfig, dataset: PreparedDataset) -> Callable[[], float]:
    """The network's largest layer, bare: its output, the gradients of its input and its weight.
    Gives the rows for whose training step as many operations suffice."""
    network = Network(dataset.state.layout, run.model, tables_device=torch.device("cpu"))
    layers = [m.weight.detach() for m in network.modules() if isinstance(m, StackedLinear)]
    weight = max(layers, key=torch.Tensor.numel).flatten(0, 1)
    rows = run.train.batch_size
    x, y = torch.randn(rows, weight.shape[1]), torch.randn(rows, weight.shape[0])
    x_gradient, y_gradient, gradient = (torch.empty_like(t) for t in (x, y, weight))
    repeats = 20
    flops = repeats * 3 * 2 * rows * weight.numel()
    limit = flops / flops_per_row(network, dataset, rows)

    def products() -> float:
        for _ in range(repeats):
            torch.mm(x, weight.t(), out=y_gradient)
            torch.mm(y, weight, out=x_gradient)
            torch.mm(y.t(), x, out=gradient)
        return limit

    return products


def flops_per_row(network: Network, dataset: PreparedDataset, batch_size: int) -> float:
    """Of the matrix products of a training step, forward and backward."""
    with closing(iter(Reader(dataset, "train", batch_size))) as batches:
        batch = next(batches)
    with FlopCounterMode(display=False) as counter:
        network(batch)[0].backward()
    return counter.get_total_flops() / len(batch)
