"""Two processes with sharded tables take the regularised step that one takes with the whole
batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing
from torch import distributed as dist

from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.network import Network
from fulcrum.models.regularisers import REGULARISERS
from fulcrum.models.weightings import Setting, StaticConfig
from fulcrum.testing.layouts import make_layout, random_arrays, random_batch
from tests.models.debug import debug_model
from tests.models.regularisers.test_regularisers import NAMES, regulariser
from tests.models.test_sharded import shard

ROWS = 16
Runs = list[dict[str, dict[str, Tensor]]]
STRONG = {"rep_mtl": {}, **{kind: {"rho": 0.5} for kind in ("sam", "f_mtl", "samo")}}
"""Settings that are seen after two steps."""


def take_steps(rank: int, world: int, folder: Path, name: str) -> None:
    """Two steps of every regulariser on this process's rows; writes dense parameters and losses."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store{world}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    layout, kept = make_layout(), {}
    own = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    for kind in REGULARISERS:
        torch.manual_seed(0)
        config = regulariser(kind, **STRONG.get(kind, {}))
        weighting = StaticConfig(weights={"buy": 3.0}).build(Setting(layout.tasks))
        network = Network(layout, debug_model(name), weighting, config.build())
        model = shard(network, world)
        for key, table in sorted(model.state_dict().items()):
            if key.startswith("tables."):
                for part in table.local_shards():
                    draws = torch.Generator().manual_seed(len(key))
                    part.tensor.copy_(torch.randn(part.tensor.shape, generator=draws))
        dense = dict(network.objective.named_parameters())
        optimizer = torch.optim.SGD(dense.values(), lr=0.05)
        losses = []
        for seed in range(2):
            whole, arrays = random_batch(layout, ROWS, seed), random_arrays(layout, ROWS, seed)
            batch = from_arrays(layout, {k: v[own] for k, v in arrays.items()})
            batch.labels, batch.observed = whole.labels[own], whole.observed[own]
            batch.weight = whole.weight[own]
            optimizer.zero_grad()
            loss, _ = model(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        state = {key: p.detach() for key, p in dense.items()}
        kept[kind] = state | {"losses": torch.stack(losses)}
    torch.save(kept, folder / f"{world}-{rank}.pt")
    dist.destroy_process_group()


def run(folder: Path, name: str) -> Runs:
    """What one process kept, then both of two."""
    for world in (1, 2):
        multiprocessing.spawn(take_steps, (world, folder, name), nprocs=world)
    files = (folder / f"{name}.pt" for name in ("1-0", "2-0", "2-1"))
    return [torch.load(file, weights_only=True) for file in files]


def check(runs: Runs, kind: str) -> None:
    one, first, second = (dict(kept[kind]) for kept in runs)
    plain = runs[0]["none"]
    assert any(not torch.allclose(one[key], plain[key], rtol=1e-4, atol=1e-5) for key in plain)
    mean = (first.pop("losses") + second.pop("losses")) / 2
    torch.testing.assert_close(mean, one.pop("losses"), rtol=1e-4, atol=1e-5)
    for key, value in one.items():
        assert torch.equal(first[key], second[key]), f"{key}: processes disagree"
        # Two processes add in another order, which rounds by the largest entry, not by each.
        error, size = (first[key] - value).abs().max(), value.abs().max()
        assert error <= 1e-4 * size + 1e-5, f"{key}: {error:.1e} of {size:.1e}"


@pytest.fixture(scope="module")
def mmoe(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return run(tmp_path_factory.mktemp("mmoe"), "mmoe")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return run(tmp_path_factory.mktemp("home"), "home")


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_two_processes_step_as_one_does(mmoe: Runs, kind: str) -> None:
    check(mmoe, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_with_batch_norm_too(home: Runs, kind: str) -> None:
    check(home, kind)
