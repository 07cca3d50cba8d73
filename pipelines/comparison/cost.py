"""What a network costs: parameters, operations per row, rows per second.

None of it depends on what was learned, so it is taken of freshly made networks. That holds for
weightings too: one that learns before training is timed as it is, untaught, and the time of its
lessons is not part of a step.
"""

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.network import Network
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console.progress import SilentProgress
from fulcrum.pipelines.tracking.protocol import SilentTracker
from fulcrum.pipelines.training.processes import process_group
from fulcrum.pipelines.training.trainer import Trainer

ROWS = 1024
"""Of the batch whose operations are counted."""
TIMED_ROWS, STEPS, ROUNDS = 8192, 3, 5
"""Rows scored at once, times in a round, rounds."""
TRAINED_STEPS, STEP_ROUNDS = 10, 5
"""Steps trained in a round at least, rounds."""


def attention(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
) -> int:
    """Operations of fused attention from the shapes of what goes in: its two matrix products."""
    return sdpa_flop_count(query, key, value)


UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
"""What torch does not count by itself."""


@dataclass(frozen=True)
class Cost:
    """Of one network."""

    tables: int
    """Parameters of the embedding tables, all copies."""
    dense: int
    """Parameters of everything else."""
    flops: float
    """Per row scored: two for each multiply-add of the matrix products, those of attention among
    them; table look-ups and what is done element by element are not counted."""
    scored: float
    """Rows per second that torch scores from prepared rows; median over rounds."""
    pace: float
    """The same as a share of the reference's, taken within each round; median over rounds."""


def costs(
    networks: Mapping[str, tuple[RunConfig, PreparedDataset]], reference: str, split: str
) -> dict[str, Cost]:
    """By name; `reference` is one of the names."""
    counted = {name: _count(*network, split) for name, network in networks.items()}
    rates = score_rates(networks, split)
    return {
        name: Cost(
            *counts,
            scored=median(round_[name] for round_ in rates),
            pace=median(round_[name] / round_[reference] for round_ in rates),
        )
        for name, counts in counted.items()
    }


def _count(config: RunConfig, dataset: PreparedDataset, split: str) -> tuple[int, int, float]:
    network = make(config, dataset)
    return *parameters(network), flops_per_row(network, _batch(dataset, split, ROWS))


def make(config: RunConfig, dataset: PreparedDataset) -> Network:
    """The network as it scores, with new weights, where there is one on the GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = Network(dataset.state.layout, config.model, tables_device=device)
    return network.to(device).eval()


def parameters(network: Network) -> tuple[int, int]:
    """Of the tables, and of everything else."""
    tables, rest = (
        sum(parameter.numel() for parameter in part.parameters())
        for part in (network.tables, network.objective)
    )
    return tables, rest


def flops_per_row(network: Network, batch: Batch) -> float:
    """Of the matrix products between the tables and the scores."""
    batch = batch.to(next(network.objective.parameters()).device)
    network.requires_grad_(False)  # the counter hooks into whatever asks for a gradient
    with torch.no_grad():
        vectors = network.tables(batch.ids, batch.sequences)
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
            network.objective(*vectors, batch)
    return counter.get_total_flops() / len(batch)


def score_rates(
    networks: Mapping[str, tuple[RunConfig, PreparedDataset]], split: str
) -> list[dict[str, float]]:
    """Rows per second by network, one entry a round. Every round times each network once, so all of
    them meet the same machine; one network is in memory at a time."""
    return [
        {name: _rate(*network, split) for name, network in networks.items()} for _ in range(ROUNDS)
    ]


def _rate(config: RunConfig, dataset: PreparedDataset, split: str) -> float:
    network = make(config, dataset)
    batch = _batch(dataset, split, TIMED_ROWS)
    batch = batch.to(next(network.objective.parameters()).device)
    network.requires_grad_(False)  # the counter hooks into whatever asks for a gradient
    with torch.no_grad():
        network(batch)
        _wait()
        began = time.perf_counter()
        for _ in range(STEPS):
            network(batch)
        _wait()
    return STEPS * len(batch) / max(time.perf_counter() - began, 1e-9)


def step_seconds(
    networks: Mapping[str, tuple[RunConfig, PreparedDataset]],
) -> list[dict[str, float]]:
    """Seconds of a training step by network, one entry a round; every round times each network
    once, and one network is in memory at a time."""
    return [
        {name: _seconds(*network) for name, network in networks.items()} for _ in range(STEP_ROUNDS)
    ]


def slower(
    networks: Mapping[str, tuple[RunConfig, PreparedDataset]], reference: str
) -> dict[str, float | None]:
    """Time of a training step over the reference's, taken within each round; median over rounds."""
    rounds = step_seconds(networks)
    return {name: median(r[name] / r[reference] for r in rounds) for name in networks}


def _seconds(config: RunConfig, dataset: PreparedDataset) -> float:
    """Of a step in whole periods of the weighting, after one that warms up."""
    period = _period(config)
    steps = period * -(-TRAINED_STEPS // period)
    with TemporaryDirectory() as folder, process_group() as process, _quiet():
        silent = SilentTracker(), SilentProgress()
        trainer = Trainer(config, dataset, Path(folder), process, *silent)
        trainer.model.train()
        with closing(_endless(trainer.reader)) as batches:
            for _ in range(period):
                _step(trainer, batches)
            _wait()
            began = time.perf_counter()
            for _ in range(steps):
                _step(trainer, batches)
            _wait()
    return (time.perf_counter() - began) / steps


def _period(config: RunConfig) -> int:
    """Steps after which the weighting does the same again."""
    gramian = getattr(config.weighting, "gramian", None)
    return getattr(config.weighting, "every", None) or getattr(gramian, "every", None) or 1


def _step(trainer: Trainer, batches: Iterator[Batch]) -> None:
    trainer.pipeline.progress(batches)
    trainer.weighting.after_step(trainer.after)


def _endless(reader: Reader) -> Generator[Batch]:
    """Epoch after epoch."""
    while True:
        with closing(iter(reader)) as batches:
            yield from batches


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a training says of itself when it is made."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _batch(dataset: PreparedDataset, split: str, rows: int) -> Batch:
    """The first rows of a split."""
    with closing(iter(Reader(dataset, split, rows))) as batches:
        return next(batches)


def _wait() -> None:
    """Until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
