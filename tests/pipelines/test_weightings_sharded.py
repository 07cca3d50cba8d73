"""Every weighting with several networks, in one process and in two with sharded tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, multiprocessing
from torch import distributed as dist

from fulcrum.features.layout import Layout
from fulcrum.features.reading.batch import Batch, from_arrays
from fulcrum.models.network import Network
from fulcrum.models.weightings import WEIGHTINGS, Setting, WeightingChoice, WeightingConfig
from fulcrum.models.weightings.rmtl import RMTL
from fulcrum.models.weightings.rmtl_mc import RMTLMC
from fulcrum.testing.layouts import make_layout, random_arrays, random_batch
from tests.models.debug import debug_model
from tests.models.test_sharded import shard

ROWS, STEPS, STATE = 16, 4, 100
NETWORKS = ("mmoe", "ple", "home", "adatt")
QUICK: dict[str, dict[str, Any]] = {
    **{
        m: {"gramian": {"kind": "sketch", "every": 2}}
        for m, c in WEIGHTINGS.items()
        if "gramian" in c.model_fields
    },
    "dwa": {"window": 1},
    "famo": {"every": 2},
    "coba": {"every": 2},
    "gradnorm": {"gramian": {"kind": "sketch", "every": 2}, "window": 1},
    "igb_sac": {"window": 1, "every": 2, "hidden": 8, "replay": 20},
    "rmtl": {"hidden": [8], "normalise": False},
    "rmtl_mc": {"normalise": False},
}
"""Settings that let a method act within so few steps; the mean of row weights that are brought to
mean 1 would tell nothing."""
EVEN = {"static", "equal", "dualproj"}
"""Methods that weigh these tasks, whose mean gradient hurts none of them, alike."""
TWO = pytest.mark.parametrize("method", WEIGHTINGS)


def config(method: str) -> WeightingConfig:
    block = {"method": method, **QUICK.get(method, {})}
    return TypeAdapter[WeightingConfig](WeightingChoice).validate_python(block)


class Asked:
    """See `fulcrum.models.step.After`: losses of the network on the batch, in the mode it is in."""

    rate = 1.0

    def __init__(self, network: Network, batch: Batch) -> None:
        self.network, self.batch = network, batch

    @torch.no_grad()
    def again(self) -> Tensor:
        return self.network.objective.losses(*self.network.inputs(self.batch)).double()

    def held_out(self, number: int) -> Tensor:
        return self.again()


def batches(layout: Layout, rank: int, world: int) -> Iterator[Batch]:
    """This process's rows of the same global batches."""
    own = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    for seed in range(STEPS):
        whole, arrays = random_batch(layout, ROWS, seed), random_arrays(layout, ROWS, seed)
        batch = from_arrays(layout, {k: v[own] for k, v in arrays.items()})
        batch.labels, batch.observed = whole.labels[own], whole.observed[own]
        batch.weight, batch.row = whole.weight[own], torch.arange(ROWS)[own]
        yield batch


def take_steps(rank: int, world: int, folder: Path, networks: tuple[str, ...]) -> None:
    """A few steps of every combination; writes the weights of every step."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store{world}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    layout, seen = make_layout(), {}
    for name in networks:
        for method in WEIGHTINGS:
            torch.manual_seed(0)
            model = debug_model(name)
            width = (len(layout.pooled) + len(layout.unpooled)) * 4 + len(layout.dense)
            weighting = config(method).build(
                Setting(layout.tasks, epoch=2, steps=STEPS, state=width, rows=ROWS)
            )
            if isinstance(weighting, RMTL):
                weighting.seen.fill_(1)  # weights come from the critics as they were drawn
            if isinstance(weighting, RMTLMC):
                weighting.returns.copy_(-torch.linspace(0, 1, ROWS)[:, None])
            network = Network(layout, model, weighting)
            sharded = shard(network, world)
            for key, table in sorted(sharded.state_dict().items()):
                if key.startswith("tables."):
                    for part in table.local_shards():
                        torch.nn.init.constant_(part.tensor, 0.1)
                        part.tensor[::2] = -0.2
            dense = [p for p in network.objective.parameters() if p.requires_grad]
            optimizer = torch.optim.SGD(dense, lr=0.05)
            steps = []
            for batch in batches(layout, rank, world):
                optimizer.zero_grad()
                loss, out = sharded(batch)
                loss.backward()
                optimizer.step()
                weighting.after_step(Asked(network, batch))
                steps.append(out["weights"])
            seen[f"{name}/{method}"] = torch.stack(steps)
    torch.save(seen, folder / f"{world}-{rank}.pt")
    dist.destroy_process_group()


def run(folder: Path, networks: tuple[str, ...]) -> list[dict[str, Tensor]]:
    """Weights of one process, then of both of two."""
    for world in (1, 2):
        multiprocessing.spawn(take_steps, (world, folder, networks), nprocs=world)
    files = ("1-0", "2-0", "2-1")
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in files]


def check(runs: list[dict[str, Tensor]], name: str, method: str) -> None:
    one, first, second = (weights[f"{name}/{method}"] for weights in runs)
    assert one.shape == (STEPS, len(make_layout().tasks))
    assert one.isfinite().all() and (one >= 0).all() and one.sum(1).all()
    assert torch.equal(first, second), "processes disagree"
    torch.testing.assert_close(first, one, rtol=0, atol=1e-5)
    assert method in EVEN or (one - 1).abs().max() > 1e-3, "nothing was compared"


@pytest.fixture(scope="module")
def mmoe(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    return run(tmp_path_factory.mktemp("mmoe"), ("mmoe",))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    return run(tmp_path_factory.mktemp("others"), NETWORKS[1:])


@pytest.mark.slow
@TWO
def test_two_processes_weigh_as_one_does(mmoe: list[dict[str, Tensor]], method: str) -> None:
    check(mmoe, "mmoe", method)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS[1:])
@TWO
def test_with_other_networks_too(others: list[dict[str, Tensor]], name: str, method: str) -> None:
    check(others, name, method)
