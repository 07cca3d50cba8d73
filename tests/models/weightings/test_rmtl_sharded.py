"""Two processes, each with half of the sessions, learn and weigh as one with all of them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing
from torch import distributed as dist

from fulcrum.models.agents.critics import TemporalDifference, reward, session_ends
from fulcrum.models.step import Rows
from fulcrum.models.weightings.rmtl import RMTLConfig
from fulcrum.models.weightings.rmtl_mc import RMTLMCConfig
from tests.models.weightings.sessions_toy import LESSON, SETTING, step_of, toy

ROWS = 20


def own(rows: Rows, rank: int, world: int) -> Rows:
    """The part of a process; sessions stay whole."""
    count = len(rows.weight)
    part = slice(rank * count // world, (rank + 1) * count // world)
    return Rows(**{field.name: getattr(rows, field.name)[part] for field in fields(rows)})


def end(rank: int, world: int) -> dict[str, Tensor]:
    """What a process ends with."""
    torch.manual_seed(0)
    td = TemporalDifference(1, 3, (8,), 0.9, lr=1e-2, rate=0.1)
    for lesson in range(5):
        rows = own(toy(ROWS, lesson), rank, world)
        if not lesson:
            td.observe(rows.state)
        ends, gained = session_ends(rows.session), reward(rows.scores, rows.labels)
        loss = td.update(rows.state, rows.scores, rows.scores, gained, ends, rows.observed)
    kept = td.state_dict() | {"loss": loss}

    weighting = RMTLConfig(hidden=(8,), updates=2).build(SETTING)
    for lesson in range(3):
        weighting.learn(own(toy(ROWS, lesson), rank, world))
    kept |= {f"rmtl.{name}": value for name, value in weighting.state_dict().items()}

    oracle, rows = RMTLMCConfig().build(SETTING), toy(LESSON - 10, 0)
    oracle.learn(own(rows, rank, world))
    oracle.taught()
    uneven = replace(rows, weight=torch.linspace(0.5, 2, len(rows.weight)))
    weights = oracle(step_of(own(uneven, rank, world)))
    mean = torch.tensor([oracle.facts()["raw_mean/t0"]])
    return kept | {"returns": oracle.returns, "mean": mean, "weights": weights}


def work(rank: int, world: int, folder: Path) -> None:
    """Writes what this process ends with."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    torch.save(end(rank, world), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What one process ends with, then both of two."""
    folder = tmp_path_factory.mktemp("rmtl")
    multiprocessing.spawn(work, (2, folder), nprocs=2)
    return [end(0, 1), *(torch.load(folder / f"{rank}.pt") for rank in range(2))]


def test_critics_step_by_the_mean_gradient(ended: list[dict[str, Tensor]]) -> None:
    one, first, second = ended
    names = [name for name in one if name.startswith(("critics.", "targets.", "loss"))]
    assert len(names) > 10
    for name in names:
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], one[name], rtol=1e-4, atol=1e-5)


def test_critics_stay_equal_on_all_processes(ended: list[dict[str, Tensor]]) -> None:
    _, first, second = ended
    names = [name for name in first if name.startswith("rmtl.")]
    assert len(names) > 20 and int(first["rmtl.seen"]) == 3
    for name in names:
        assert torch.equal(first[name], second[name]), name


def test_returns_and_means_are_those_of_all_rows(ended: list[dict[str, Tensor]]) -> None:
    one, first, second = ended
    assert one["returns"].ne(0).sum() == LESSON - 10
    for name in ("returns", "mean"):
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], one[name])
    torch.testing.assert_close(torch.cat([first["weights"], second["weights"]]), one["weights"])
