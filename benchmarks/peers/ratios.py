"""Our rates as ratios to the peers', each timed in the same rounds."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import torch

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size
from benchmarks.peers import DEEPCTR, RECHUB, installed
from benchmarks.peers.work import Encoded, census, encode, wide
from benchmarks.rounds import Action, interleave
from benchmarks.scoring import make_bundle, make_weights
from benchmarks.training import THREADS, train
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training.processes import process_group
from fulcrum.serving.scoring.onnx_session import Session

STEPS = {4096: 16, 1024: 64}
"""Of training and of scoring in a round, by the rows of a batch."""
INSTALL = "not installed: `make bench-peers`"

Peers = Mapping[str, Callable[[], Action]]
"""What gets a library ready, by its name."""


def of_wide(folder: Path, size: Size) -> list[Figure]:
    """Training on the generated logs, and scoring them."""
    run = wide(folder, size)
    encoded = encode(run)
    rechub: Peers = {RECHUB: lambda: peer("rechub").score(encoded, folder, steps(encoded), THREADS)}
    return [
        *of_training("training, wide logs", run, encoded, folder, size, 1.0),
        *beside("scoring prepared rows", score(run, folder, size), rechub, size, 1.0),
    ]


def of_census(folder: Path, size: Size) -> list[Figure]:
    """Training of a small network on a small table."""
    run = census(folder)
    return of_training("training, census", run, encode(run), folder, size, 2.0)


def of_training(
    title: str, run: RunConfig, encoded: Encoded, folder: Path, size: Size, aim: float
) -> list[Figure]:
    """The same number of steps by everybody, whatever brings the rows included."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    count = steps(encoded)
    peers: Peers = {
        RECHUB: lambda: peer("rechub").train(encoded, folder, count),
        DEEPCTR: lambda: peer("deepctr").train(encoded, count),
    }
    with process_group() as process:
        dataset = prepare(run, Path(run.workspace))
        ours = train(run, dataset, folder / title, process, count)
        return beside(title, ours, peers, size, aim)


def score(run: RunConfig, folder: Path, size: Size) -> Action:
    """Batches through our graph of an untrained network."""
    dataset = prepare(run, Path(run.workspace))
    bundle = make_bundle(folder / "beside", run, dataset, make_weights(run, dataset))
    layout, batch_size = dataset.state.layout, run.train.batch_size
    rows = min(STEPS.get(batch_size, 4) * batch_size, dataset.rows("test"))
    shards = pl.scan_parquet(dataset.shards("test"), glob=False)
    arrays = to_arrays(shards.head(rows).collect(), layout)
    session = Session(bundle.graph, layout, "cpu", batch_size, THREADS)

    def action() -> float:
        session.run(arrays)
        return rows

    return action


def steps(encoded: Encoded) -> int:
    """No more than there are rows for."""
    batch_size = encoded.batch_size
    return min(STEPS.get(batch_size, 4), len(encoded.frame) // 2 // batch_size)


def peer(name: str) -> Any:
    """The module that speaks to a library, which has to be installed."""
    return import_module(f"benchmarks.peers.{name}")


def beside(title: str, ours: Action, peers: Peers, size: Size, aim: float) -> list[Figure]:
    """Our rate as a ratio to that of each library that is installed, then their rates."""
    mine, names = f"{title}: Fulcrum", {library: f"{title}: {library}" for library in peers}
    there = [library for library in peers if installed(library)]
    actions = {mine: ours} | {names[library]: peers[library]() for library in there}
    rates = interleave(size.rounds, actions)
    ratios = [per_second(rates, mine, limit=names[library], aim=aim) for library in there]
    return [
        *(ratios or [per_second(rates, mine)]),
        *(per_second(rates, names[library]) for library in there),
        *(Figure(name, INSTALL) for library, name in names.items() if library not in there),
    ]
