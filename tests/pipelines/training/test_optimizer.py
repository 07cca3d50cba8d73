import math

import pytest
import torch
from torch import Tensor
from torchrec.distributed.model_parallel import DistributedModelParallel

from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.reader import Reader
from fulcrum.models.network import Network
from fulcrum.pipelines.config.run import RunConfig, TrainConfig
from fulcrum.pipelines.training.optimizer import Optimizers
from fulcrum.pipelines.training.processes import process_group
from fulcrum.pipelines.training.tables.sharding import distribute
from tests.pipelines.small_runs import small_run
from tests.prepared import LAYOUT, prepare

TABLES = {
    "tables.pooled.embedding_bags.user.weight",
    "tables.pooled.embedding_bags.tag.weight",
    "tables.unpooled.embeddings.item.weight",
    "tables.unpooled.embeddings.viewed:age.weight",
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return next(iter(Reader(prepare(tmp_path_factory.mktemp("data"), {"train": 64}), "train", 64)))


def build(run: RunConfig) -> DistributedModelParallel:
    torch.manual_seed(0)
    with process_group() as process:
        network = Network(LAYOUT, run.model)
        return distribute(network, run.train, process)


def weights(model: DistributedModelParallel) -> dict[str, Tensor]:
    state = model.state_dict()
    return {
        name: (value.local_tensor() if name in TABLES else value).clone()
        for name, value in state.items()
    }


Pair = tuple[dict[str, Tensor], dict[str, Tensor]]


def one_step(run: RunConfig, batch: Batch, skip: int) -> Pair:
    """Weights before and after a step that comes after `skip` others of 100."""
    with process_group():
        model = build(run)
        optimizers = Optimizers(model, run.train, 100)
        optimizers.skip_to(skip)
        before = weights(model)
        optimizers.zero_grad()
        model.train()
        loss, _ = model(batch)
        loss.backward()
        optimizers.step()
        return before, weights(model)


def distance(pair: Pair, name: str) -> float:
    return float((pair[1][name] - pair[0][name]).abs().max())


def test_every_table_and_nothing_else_steps_in_backward(batch: Batch) -> None:
    run = small_run()
    with process_group():
        model = build(run)
        assert set(model.fused_optimizer.params) == TABLES
        optimizers = Optimizers(model, run.train, 10)
        dense = {name for name, _ in model.named_parameters()} - TABLES
        assert {
            name.removeprefix("_dmp_wrapped_module.") for name in optimizers.dense.params
        } == dense
        plan = {t: s for module in model.plan.plan.values() for t, s in module.items()}
        assert set(plan) == {"user", "tag", "item", "viewed:age"}
        assert {s.compute_kernel for s in plan.values()} == {"fused"}
        assert {s.sharding_type for s in plan.values()} == {"table_wise"}


@pytest.mark.parametrize("skip", [0, 4, 10, 55, 99])
def test_the_schedule_reaches_tables_and_dense_part(batch: Batch, skip: int) -> None:
    """The first step of row-wise Adagrad and of Adam is proportional to the rate, whatever the
    gradient."""
    run = small_run(warmup=0.1, decay="linear")
    share = (skip + 1) / 10 if skip < 10 else (100 - skip) / 90
    full, found = one_step(small_run(warmup=0, decay="none"), batch, 0), one_step(run, batch, skip)
    for name in (*TABLES, "objective.predictor.towers.last.weight"):
        assert distance(found, name) == pytest.approx(share * distance(full, name), rel=1e-2)


def test_shares_of_the_peak_by_hand() -> None:
    with process_group():
        model = build(small_run())

        def shares(**settings: object) -> list[float]:
            config = TrainConfig.model_validate(settings)
            return [Optimizers(model, config, 8).share(step) for step in range(8)]

        assert shares(warmup=0.25, decay="none") == [1 / 2, 1, 1, 1, 1, 1, 1, 1]
        assert shares(warmup=0.5, decay="linear") == [
            1 / 4,
            2 / 4,
            3 / 4,
            1,
            1,
            3 / 4,
            2 / 4,
            1 / 4,
        ]
        assert shares(warmup=0, decay="cosine") == pytest.approx(
            [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
        )
        assert shares(warmup=1, decay="cosine") == [(step + 1) / 8 for step in range(8)]


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_step_of_the_tables_is_row_wise_adagrad_with_l2(batch: Batch, decay: float) -> None:
    """h = mean((g + λw)²), w' = w - η (g + λw) / (√h + ε), on the rows of the batch alone."""
    rate = 0.01
    run = small_run(sparse={"lr": rate, "weight_decay": decay}, warmup=0, decay="none")
    run = run.model_copy(update={"model": run.model.model_copy(update={"dropout": 0.0})})
    before, after = one_step(run, batch, 0)
    plain = Network(LAYOUT, run.model, tables_device=torch.device("cpu"))
    plain.load_state_dict(before)
    loss, _ = plain(batch)
    loss.backward()
    for name in TABLES:
        gradient = plain.get_parameter(name).grad
        assert gradient is not None
        touched = (gradient != 0).any(1)
        assert touched.any()
        full = gradient + decay * before[name]
        step = rate * full / (full.square().mean(1, keepdim=True).sqrt() + 1e-8)
        expected = before[name] - torch.where(touched[:, None], step, 0.0)
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-5)
