"""Scoring through ONNX Runtime against the same network in eager torch."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size, make_run
from benchmarks.rounds import interleave
from benchmarks.training import THREADS, multiply
from fulcrum.features.files.source import scan
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.models.network import Network
from fulcrum.models.plain import PlainNetwork
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing.export import export
from fulcrum.serving.scoring.onnx_session import Session
from fulcrum.serving.scoring.scorer import Scorer

BATCHES = 16
"""Scored in each call."""
LIMIT, EAGER, GRAPH, MANY, RAW = (
    "fp32 matrix products of scoring alone",
    "scoring prepared rows, eager torch",
    "scoring prepared rows, ONNX Runtime",
    "the same, 4,096 rows at a time",
    "scoring raw rows, features included, ONNX Runtime",
)


def measure(folder: Path, size: Size) -> list[Figure]:
    """The network's own speed either way, then that of the scorer that starts from raw rows."""
    torch.set_num_threads(THREADS)
    run = make_run(folder, size)
    dataset = prepare(run, Path(run.workspace))
    weights = make_weights(run, dataset)
    bundle = make_bundle(folder / "model", run, dataset, weights)
    layout, count = dataset.state.layout, min(BATCHES * size.batch_size, dataset.rows("test"))
    prepared = pl.scan_parquet(dataset.shards("test"), glob=False).head(count).collect()
    arrays = to_arrays(prepared, layout)
    raw = pl.scan_parquet(folder / "logs.parquet", glob=False).tail(count).collect()
    session = Session(bundle.graph, layout, "cpu", threads=THREADS)
    many = Session(bundle.graph, layout, "cpu", size.batch_size, THREADS)
    scorer = Scorer(bundle, "cpu", threads=THREADS)
    network = PlainNetwork(layout, run.model).load(weights)

    step = multiply(run, dataset)

    def graph(session: Session) -> float:
        session.run(arrays)
        return count

    def score() -> float:
        scorer.score(raw)
        return count

    actions = {
        LIMIT: lambda: 3 * step(),  # a training step is a forward pass and twice as much backward
        EAGER: eager(network, arrays, size.batch_size),
        GRAPH: partial(graph, session),
        MANY: partial(graph, many),
        RAW: score,
    }
    rates = interleave(size.rounds, actions)
    return [
        per_second(rates, GRAPH, limit=LIMIT, aim=0.85),
        per_second(rates, MANY, limit=LIMIT),
        per_second(rates, GRAPH, limit=EAGER, aim=1.0),
        per_second(rates, RAW, limit=GRAPH, aim=0.9),
        per_second(rates, EAGER),
        per_second(rates, LIMIT),
    ]


def eager(
    network: PlainNetwork, arrays: Mapping[str, np.ndarray], batch_size: int
) -> Callable[[], float]:
    """Score all rows in batches; gives rows."""
    tensors = [torch.from_numpy(arrays[source.name]) for source in network.layout.inputs]
    batches = list(zip(*(tensor.split(batch_size) for tensor in tensors), strict=True))

    def run() -> float:
        with torch.inference_mode():
            return sum(len(network(*batch)[0]) for batch in batches)

    return run


def make_weights(run: RunConfig, dataset: PreparedDataset) -> dict[str, torch.Tensor]:
    """Of an untrained network: they score as fast as any."""
    network = Network(dataset.state.layout, run.model, tables_device=torch.device("cpu"))
    return network.state_dict()


def make_bundle(
    folder: Path, run: RunConfig, dataset: PreparedDataset, weights: Mapping[str, torch.Tensor]
) -> Bundle:
    """The served model."""
    return export(
        folder,
        state=dataset.state,
        model=run.model,
        weights=weights,
        config=run.model_dump(mode="json"),
        config_fingerprint="benchmark",
        held_out=pl.scan_parquet(dataset.shards("test"), glob=False).head(1024).collect(),
        example=scan(run.data.events).frame.head(3).collect(),
    )
