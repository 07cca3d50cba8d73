import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter

from fulcrum.features.errors import StateError
from fulcrum.pipelines.training.checkpoint import (
    latest,
    load,
    load_parts,
    load_weights,
    prune,
    random_state,
    read_state,
    save,
    set_random_state,
)
from fulcrum.pipelines.training.processes import process_group


def test_parts_state_and_generators_come_back(tmp_path: Path) -> None:
    model = {"w": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
    moments = {"w": {"step": torch.tensor(7.0), "sum": torch.ones(3)}}
    with process_group() as process:
        state = {"step": 4, "history": [[2, {"auc": 0.1 + 0.2, "auc/a": None}]]}
        written = save(tmp_path, 4, {"model": model, "optimizers": moments}, state, process)
        expected = random.random(), np.random.rand(), torch.rand(()).item()
        parts = {
            "model": {name: torch.zeros_like(t) for name, t in model.items()},
            "optimizers": {"w": {name: torch.zeros_like(t) for name, t in moments["w"].items()}},
        }
        assert load(written, parts, process) == state
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert all(torch.equal(parts["model"][name], model[name]) for name in model)
    assert all(torch.equal(parts["optimizers"]["w"][n], t) for n, t in moments["w"].items())
    assert {name: t.tolist() for name, t in load_weights(written).items()} == {
        name: t.tolist() for name, t in model.items()
    }
    assert {path.name for path in tmp_path.iterdir()} == {"step-4"}


def test_state_that_another_version_did_not_have_is_named(tmp_path: Path) -> None:
    with process_group() as process:
        before = {"model": {}, "weighting": {"total": torch.ones(2)}}
        written = save(tmp_path, 1, before, {}, process)
        now = {"model": {}, "weighting": {"level.total": torch.zeros(2)}}
        with pytest.raises(StateError, match=r"`weighting\.level\.total`.*another version"):
            load(written, now, process)


def test_an_interrupt_is_no_failure_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch makes one of whatever happens while it writes or reads."""

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    parts = {"model": {"w": torch.ones(3)}}
    with process_group() as process:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(FileSystemWriter, "write_data", interrupt)
            save(tmp_path, 1, parts, {}, process)
        assert list(tmp_path.iterdir()) == []
        written = save(tmp_path, 1, parts, {}, process)
        monkeypatch.setattr(FileSystemReader, "read_data", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_parts(written, parts)


def test_random_states_are_json_and_exact() -> None:
    random.gauss(0, 1)  # leaves half of a pair behind
    np.random.randn()
    state = json.loads(json.dumps(random_state()))

    def draw() -> tuple[float, ...]:
        return random.gauss(0, 1), np.random.randn(), torch.randn(()).item(), random.random()

    first = draw()
    draw()
    set_random_state(state)
    assert draw() == first


def test_latest_goes_by_number_and_prune_keeps_what_it_is_told(tmp_path: Path) -> None:
    for name in ("step-9", "step-10", "step-2", ".step-11.tmp", "step-12.old"):
        (tmp_path / name).mkdir()
    assert latest(tmp_path) == tmp_path / "step-10"
    prune(tmp_path, {10, 2})
    assert {path.name for path in tmp_path.iterdir()} == {"step-10", "step-2", "step-12.old"}
    assert latest(tmp_path / "nowhere") is None


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "step-1"
    empty.mkdir()
    with pytest.raises(StateError, match=r"step-1: not a usable checkpoint"):
        load_weights(empty)
    with pytest.raises(StateError, match=r"step-1: not a usable checkpoint"):
        read_state(empty)
    (empty / ".metadata").write_bytes(b"not a pickle")
    (empty / "state.json").write_text("{")
    with pytest.raises(StateError, match=r"step-1: not a usable checkpoint"):
        load_weights(empty)
    with pytest.raises(StateError, match=r"step-1: not a usable checkpoint"):
        read_state(empty)
