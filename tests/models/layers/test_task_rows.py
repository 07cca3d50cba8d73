"""What a level computes for each task, worked out from masks by hand, and that no more is run."""

import torch
from torch import Tensor

from fulcrum.models.layers.task_rows import TaskRows, needs, reached, task_rows


def mask(*rows: str) -> Tensor:
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


def test_a_last_level_needs_a_tasks_own_experts_and_the_shared_one() -> None:
    visible, source = mask("x.x", ".xx"), torch.tensor([0, 1, 2])
    experts, inputs = needs(mask("x.", ".x"), visible, source)
    assert experts.equal(mask("x.x", ".xx"))
    assert inputs.equal(mask("x.x", ".xx"))


def test_a_gate_reads_an_input_too_even_when_no_expert_of_it_is_used() -> None:
    experts, inputs = needs(mask("x.", ".x"), mask(".x", ".x"), torch.tensor([0, 1]))
    assert experts.equal(mask(".x", ".x"))
    assert inputs.equal(mask("xx", ".x"))


def test_the_level_before_is_reached_through_what_the_next_one_reads() -> None:
    assert reached(mask("x.x", ".xx"), mask("x.x", ".xx", "xxx")).equal(mask("xxx", "xxx"))


def test_where_all_take_all_rows_nothing_is_restricted() -> None:
    assert task_rows(mask("xx", "xx"), [0, 0]) is None


def test_networks_run_on_the_rows_of_their_tasks_and_give_0_elsewhere() -> None:
    """Three networks times 2: of task 0 alone, of task 1 alone, and of both."""
    rows = TaskRows(mask("x.x", ".xx"), [0, 0, 0])
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    calls: list[int] = []

    def double(x: Tensor, networks: slice) -> Tensor:
        count = networks.stop - networks.start
        calls.append(count * x.shape[1])
        return 2 * x.expand(count, -1, -1) if len(x) == 1 else 2 * x

    h = rows(double, x)[..., 0]
    assert h.tolist() == [[2.0, 0, 2.0], [4.0, 0, 4.0], [0, 6.0, 6.0], [0, 8.0, 8.0]]
    assert sum(calls) == 2 + 2 + 2 * 2
    assert rows.used(4).equal(mask("x.x", "x.x", ".xx", ".xx"))
