"""Two processes with sharded tables take the step that one takes with the whole batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing
from torch import distributed as dist
from torch.distributed import checkpoint
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.optim import RowWiseAdagrad
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.optimizers import in_backward_optimizer_filter

from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.network import Network
from fulcrum.models.weightings import Setting, StaticConfig
from fulcrum.testing.layouts import make_layout, random_arrays, random_batch
from fulcrum.testing.networks import make_network
from tests.models.debug import MODELS, debug_model

ROWS = 16


def shard(network: Network, world: int) -> DistributedModelParallel:
    """Whole tables on either process, row-wise Adagrad in backward."""
    apply_optimizer_in_backward(RowWiseAdagrad, network.tables.parameters(), {"lr": 0.1})
    tables = {name.split(".")[-2] for name, _ in network.tables.named_parameters()}
    constraint = ParameterConstraints(sharding_types=["table_wise"], compute_kernels=["fused"])
    planner = EmbeddingShardingPlanner(
        topology=Topology(world, "cpu"), constraints=dict.fromkeys(tables, constraint)
    )
    plan = planner.collective_plan(network, get_default_sharders(), dist.group.WORLD)
    return DistributedModelParallel(network, device=torch.device("cpu"), plan=plan)


def take_steps(rank: int, world: int, folder: Path) -> None:
    """Two steps of every model on this process's rows; writes weights and what it saw."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world
    )
    layout = make_layout()
    own = range(rank * ROWS // world, (rank + 1) * ROWS // world)
    for name in MODELS:
        config = debug_model(name)
        weighting = StaticConfig().build(Setting(layout.tasks))
        network = Network(layout, config, weighting)
        asked: list[Tensor] = []
        weighting.register_forward_pre_hook(
            lambda _, args, asked=asked: asked.append(args[0].gramian)
        )
        model = shard(network, world)
        state = model.state_dict()
        checkpoint.load(state, checkpoint_id=folder / name)
        model.load_state_dict(state)
        dense = dict(in_backward_optimizer_filter(model.named_parameters()))
        optimizer = torch.optim.SGD(dense.values(), lr=0.1)
        outs = []
        for seed in range(2):
            whole, arrays = random_batch(layout, ROWS, seed), random_arrays(layout, ROWS, seed)
            rows = slice(own.start, own.stop)
            batch = from_arrays(layout, {k: v[rows] for k, v in arrays.items()})
            batch.labels, batch.observed = whole.labels[rows], whole.observed[rows]
            batch.weight = whole.weight[rows]
            optimizer.zero_grad()
            loss, out = model(batch)
            loss.backward()
            optimizer.step()
            outs.append(out | {"loss": loss.detach()})
        kept = {"outs": outs, "gramians": asked}
        torch.save(kept, folder / f"{name}-{world}-{rank}.pt")
        checkpoint.save(model.state_dict(), checkpoint_id=folder / f"{name}-{world}")
    dist.destroy_process_group()


def take_steps_in_two_and_in_one(rank: int, folder: Path) -> None:
    """One process more would take seconds to start."""
    take_steps(rank, 2, folder)
    if rank == 0:
        take_steps(0, 1, folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of every model after two steps, on one process and on two."""
    folder = tmp_path_factory.mktemp("sharded")
    torch.manual_seed(0)
    for name in MODELS:
        checkpoint.save(
            make_network(make_layout(), debug_model(name)).state_dict(), checkpoint_id=folder / name
        )
    multiprocessing.spawn(take_steps_in_two_and_in_one, (folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_outputs_agree(trained: Path, name: str) -> None:
    one = torch.load(trained / f"{name}-1-0.pt", weights_only=True)
    two = [torch.load(trained / f"{name}-2-{rank}.pt", weights_only=True) for rank in range(2)]
    for step in range(2):
        alone, parts = one["outs"][step], [kept["outs"][step] for kept in two]
        for per_row in ("scores", "row_losses"):
            both = torch.cat([part[per_row] for part in parts])
            torch.testing.assert_close(both, alone[per_row], rtol=1e-4, atol=1e-5)
        for part in parts:
            torch.testing.assert_close(part["losses"], alone["losses"])
            torch.testing.assert_close(part["weights"], alone["weights"])
        mean = (parts[0]["loss"] + parts[1]["loss"]) / 2
        torch.testing.assert_close(mean, alone["loss"])
        for kept in two:
            torch.testing.assert_close(
                kept["gramians"][step], one["gramians"][step], rtol=1e-3, atol=1e-8
            )


@pytest.mark.parametrize("name", MODELS)
def test_weights_agree(trained: Path, name: str) -> None:
    """Both checkpoints load into an unsharded network, which is how a model is exported."""
    start, one, two = (
        make_network(make_layout(), debug_model(name)).state_dict() for _ in range(3)
    )
    for state, folder in ((start, name), (one, f"{name}-1"), (two, f"{name}-2")):
        checkpoint.load(state, checkpoint_id=trained / folder)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)
        assert not torch.equal(value, start[key]), f"{key} was not trained"
