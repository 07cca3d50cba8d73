"""The predictor: with fields per task, folding tasks into rows is the loop over tasks."""

import pytest
import torch
from torch import Tensor

from fulcrum.features.layout import Layout
from fulcrum.models.interactions.dcn_v2 import DCNv2Config
from fulcrum.models.predictor import Predictor
from fulcrum.testing.layouts import binary_tasks, make_layout
from tests.models.debug import debug_model

ROWS, T, D = 5, 3, 4
LAYOUT: Layout = make_layout(binary_tasks(T))
PER_TASK = [
    ("mmoe", "dtrn"),
    ("mmoe", "apem"),
    ("shared_bottom", "dtrn"),
    ("ple", "dtrn"),
    ("ple", "apem"),
]


def make(architecture: str, bottom: str, **settings: object) -> Predictor:
    model = debug_model(architecture, bottom=bottom, **settings)
    return Predictor(LAYOUT, model).double().eval()


def some_fields(predictor: Predictor) -> Tensor:
    """`(ROWS, T · F, D)`, task-major."""
    return torch.randn(ROWS, T * len(predictor.bottom.names), D, dtype=torch.float64)


def own(predictor: Predictor, fields: Tensor, task: int) -> Tensor:
    """The fields of one task."""
    return fields.unflatten(1, (T, -1))[:, task]


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("architecture", "bottom"), PER_TASK)
def test_folding_is_the_loop_over_tasks(architecture: str, bottom: str) -> None:
    """Each task's own fields pass the whole trunk, and its own representation is kept."""
    predictor = make(architecture, bottom)
    fields = some_fields(predictor)
    z = predictor.represent(fields)
    assert z.shape == (ROWS, T, predictor.trunk.width)
    for t in range(T):
        close(z[:, t], predictor.trunk(own(predictor, fields, t))[:, t])


def test_each_task_interacts_with_its_own_fields() -> None:
    predictor = make("mmoe", "dtrn", interaction="dcn_v2")
    assert isinstance(debug_model("mmoe", interaction="dcn_v2").interaction, DCNv2Config)
    fields = some_fields(predictor)
    z = predictor.represent(fields)
    for t in range(T):
        crossed = predictor.interaction(own(predictor, fields, t))
        close(z[:, t], predictor.trunk(crossed)[:, t])


@pytest.mark.parametrize("bottom", ["dtrn", "apem"])
def test_a_tasks_fields_reach_no_other_tasks_representation(bottom: str) -> None:
    predictor = make("mmoe", bottom)
    fields = some_fields(predictor).requires_grad_()
    predictor.represent(fields)[:, 1].square().sum().backward()
    assert fields.grad is not None
    moved = fields.grad.unflatten(1, (T, -1)).flatten(2).any(2)
    assert moved.tolist() == [[False, True, False]] * ROWS


@pytest.mark.parametrize(("architecture", "bottom"), PER_TASK[:2] + PER_TASK[3:])
def test_diagnostics_tell_a_row_per_task_and_which_are_used(architecture: str, bottom: str) -> None:
    predictor = make(architecture, bottom)
    fields = some_fields(predictor)
    levels = predictor.diagnostics(fields)
    last = levels[-1]
    assert last.outputs == ("t0", "t1", "t2")
    assert all(level.used is None for level in levels[:-1])
    assert last.used is not None
    assert last.used.tolist() == torch.eye(T).bool().tolist() * ROWS
    kept = (last.weights @ last.experts)[last.used].unflatten(0, (ROWS, T))
    close(kept, predictor.represent(fields))


def test_with_equal_fields_it_is_the_trunk_on_shared_fields() -> None:
    predictor, shared = make("ple", "dtrn"), make("ple", "none")
    F = len(shared.bottom.names)
    assert len(predictor.bottom.names) == F
    shared.trunk.load_state_dict(predictor.trunk.state_dict())
    fields = torch.randn(ROWS, F, D, dtype=torch.float64)
    close(predictor.represent(fields.repeat(1, T, 1)), shared.represent(fields))
    assert shared.diagnostics(fields)[-1].used is None
