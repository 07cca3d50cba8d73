"""Where tables lie: two processes that share them in any way train what one trains."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology

from fulcrum.features.errors import ResourceError
from fulcrum.features.layout import IdInput, Layout, TableSpec
from fulcrum.features.reading.batch import Batch, from_arrays
from fulcrum.models.network import Network
from fulcrum.pipelines.config.run import RunConfig, TableConfig
from fulcrum.pipelines.training import checkpoint
from fulcrum.pipelines.training.optimizer import Optimizers
from fulcrum.pipelines.training.processes import Process, process_group
from fulcrum.pipelines.training.tables import memory, sharding
from fulcrum.pipelines.training.tables.sharding import distribute, table_dtypes
from fulcrum.testing.layouts import binary_tasks, make_layout, random_arrays, random_batch
from tests.pipelines.small_runs import small_run

WIDTH = small_run().model.embedding_dim
ROW = 4 * (WIDTH + 1 + 2)
"""Bytes of a row, of what row-wise Adagrad keeps of it, and of two counts."""
SPARE = 2 << 20
CPU = torch.device("cpu")


def layout(**rows: int) -> Layout:
    return Layout(
        tables=tuple(TableSpec(name=name, rows=n) for name, n in rows.items()),
        ids=tuple(IdInput(name=name, table=name) for name in rows),
        tasks=binary_tasks(2),
    )


def build(**rows: int) -> DistributedModelParallel:
    run = small_run()
    with process_group() as process:
        return distribute(Network(layout(**rows), run.model), run.train, process)


def test_tables_beyond_this_machine_are_refused_before_they_are_made() -> None:
    with pytest.raises(ResourceError, match=r"`user`, has 10,000,000,000,000 rows of 8, 409,7"):
        build(user=10**13, item=100)


def test_the_rows_that_would_fit_do(monkeypatch: pytest.MonkeyPatch) -> None:
    cap = 1000 * ROW + SPARE
    monkeypatch.setattr(memory, "of_host", lambda process: cap)
    with pytest.raises(ResourceError) as refused:
        build(user=100_000, item=1000)
    message = str(refused.value)
    assert f"`user`, has 100,000 rows of {WIDTH}, {memory.as_text(100_000 * ROW)}" in message
    assert f"this process has {memory.as_text(cap)}" in message
    told = re.search(r"about ([\d,]+) would fit", message)
    assert told is not None
    rows = int(told[1].replace(",", ""))
    assert 0.8 * SPARE < rows * ROW < SPARE
    build(user=rows, item=1000)


@pytest.mark.parametrize(
    ("width", "world", "pieces", "most"),
    [
        (8, 2, [4, 4], 4),
        (8, 4, [4, 4], 4),
        (12, 2, [4, 4, 4], 8),
        (16, 3, [8, 8], 8),
        (16, 4, [4, 4, 4, 4], 4),
        (20, 2, [4, 4, 4, 4, 4], 12),
    ],
)
def test_columns_are_dealt_whatever_divides_them(
    width: int, world: int, pieces: list[int], most: int
) -> None:
    """And what is told to fit counts with the process that has `most` of them."""
    config = EmbeddingBagConfig(
        name="user", num_embeddings=9, embedding_dim=width, feature_names=["user"]
    )
    kind, process = TableConfig(sharding="column_wise"), Process(0, world, CPU)
    planner = EmbeddingShardingPlanner(
        topology=Topology(world, "cpu"),
        constraints={"user": sharding._constraints(config, kind, process)},
    )
    network = torch.nn.Sequential(EmbeddingBagCollection([config], device=torch.device("meta")))
    [module] = planner.plan(network, sharding.SHARDERS).plan.values()
    shards = module["user"].sharding_spec.shards
    assert [shard.shard_sizes[1] for shard in shards] == pieces
    assert sharding._spread(config, kind, process) == width / most


OWN = ("user", "tab_id", "tags", "item", "author")
"""Those of `make_layout` that have a vocabulary: pooled, bags, and read by histories."""
KINDS: dict[str, dict[str, Any]] = {
    "row_wise": {"sharding": "row_wise"},
    "column_wise": {"sharding": "column_wise"},
    "fp16": {"sharding": "row_wise", "precision": "fp16"},
}
ROWS, STEPS, RATE = 16, 3, 0.05


def run_of(kind: str) -> RunConfig:
    tables = dict.fromkeys(OWN, KINDS[kind])
    run = small_run(tables=tables, sparse={"lr": RATE}, warmup=0, decay="none")
    return run.model_copy(update={"model": run.model.model_copy(update={"dropout": 0.0})})


def own_rows(whole: Layout, seed: int, process: Process) -> Batch:
    rows = slice(process.rank * ROWS // process.world, (process.rank + 1) * ROWS // process.world)
    batch, arrays = random_batch(whole, ROWS, seed), random_arrays(whole, ROWS, seed)
    own = from_arrays(whole, {name: array[rows] for name, array in arrays.items()})
    own.labels, own.observed = batch.labels[rows], batch.observed[rows]
    own.weight = batch.weight[rows]
    return own


def take_steps(kind: str, folder: Path) -> None:
    """Keeps the weights before the first step, after it, and after the last."""
    run, whole = run_of(kind), make_layout()
    with process_group() as process:
        torch.manual_seed(0)
        network = Network(whole, run.model, table_dtypes=table_dtypes(run.train))
        model = distribute(network, run.train, process)
        optimizers = Optimizers(model, run.train, 100)
        start = folder / f"{kind}-start"
        if process.world == 2:
            checkpoint.save(start, 0, {"model": model.state_dict()}, {}, process)
        checkpoint.load_model(start / "step-0", model)
        for step in range(1, STEPS + 1):
            optimizers.zero_grad()
            loss, _ = model(own_rows(whole, step, process))
            loss.backward()
            optimizers.step()
            if step in (1, STEPS):
                parts = {"model": model.state_dict(), "optimizers": optimizers.state_dict()}
                checkpoint.save(folder / f"{kind}-{process.world}", step, parts, {}, process)


def take_steps_in_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=rank, world_size=2)
    for kind in KINDS:
        take_steps(kind, folder)
    cap = 100_000 * ROW * 2 // 3
    memory.of_host = lambda process: cap  # declared; this process ends with the test
    run = small_run(tables={"user": {"sharding": "row_wise"}})
    model = distribute(Network(layout(user=100_000), run.model), run.train, Process(rank, 2, CPU))
    torch.save(sum(w.local_tensor().numel() for w in tables_of(model)), folder / f"large-{rank}")
    dist.destroy_process_group()


def tables_of(model: DistributedModelParallel) -> list[Any]:
    return [w for name, w in model.state_dict().items() if name.startswith("tables.")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    multiprocessing.spawn(take_steps_in_two, (folder,), nprocs=2)
    for kind in KINDS:
        take_steps(kind, folder)
    return folder


def weights(folder: Path, kind: str, world: int, step: int) -> dict[str, Tensor]:
    return checkpoint.load_weights(folder / f"{kind}-{world}" / f"step-{step}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "column_wise"])
def test_two_processes_train_what_one_does(trained: Path, kind: str) -> None:
    start = checkpoint.load_weights(trained / f"{kind}-start" / "step-0")
    one, two = (weights(trained, kind, world, STEPS) for world in (1, 2))
    # A step moves a weight of fp16 to the nearest of its kind, which is 2^-11 of it away at most.
    tolerance = 1e-5 if kind != "fp16" else STEPS * 2**-11
    for name, weight in one.items():
        assert not torch.equal(weight, start[name]), f"{name} was not trained"
        scale = float(weight.abs().max())
        torch.testing.assert_close(two[name], weight, rtol=0, atol=tolerance * max(scale, 1))


@pytest.mark.slow
def test_pieces_of_columns_have_an_adagrad_each(trained: Path) -> None:
    """From the first step d of whole rows, which is g / rms(g): a piece takes d / rms(d) of its
    columns."""
    start = checkpoint.load_weights(trained / "column_wise-start" / "step-0")
    one, two = (weights(trained, "column_wise", world, 1) for world in (1, 2))
    for table in ("tables.pooled.embedding_bags.user", "tables.unpooled.embeddings.item"):
        name = f"{table}.weight"
        whole, pieces = one[name] - start[name], two[name] - start[name]
        for columns in (slice(0, 4), slice(4, 8)):
            d = whole[:, columns]
            rms = d.square().mean(1, keepdim=True).sqrt()
            expected = torch.where(rms > 1e-6, RATE * d / rms, 0.0)
            torch.testing.assert_close(pieces[:, columns], expected, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_weights_are_of_the_declared_type(trained: Path) -> None:
    types = {name: w.dtype for name, w in weights(trained, "fp16", 2, STEPS).items()}
    assert types["tables.pooled.embedding_bags.user.weight"] == torch.float16
    assert types["tables.unpooled.embeddings.viewed:age.weight"] == torch.float32


@pytest.mark.slow
def test_a_table_beyond_one_process_trains_on_two(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [torch.load(trained / f"large-{rank}") for rank in (0, 1)] == [50_000 * WIDTH] * 2
    monkeypatch.setattr(memory, "of_host", lambda process: 100_000 * ROW * 2 // 3)
    with pytest.raises(ResourceError, match="row_wise over more GPUs or machines"):
        build(user=100_000)


def test_a_kernel_that_this_device_does_not_have_is_refused() -> None:
    run = small_run(tables={"user": {"kernel": "uvm_caching"}})
    with process_group() as process, pytest.raises(ResourceError, match=r"tables\.user\.kernel"):
        distribute(Network(layout(user=10), run.model), run.train, process)
