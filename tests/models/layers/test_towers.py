"""Towers: one MLP per task, some with more outputs than others."""

import torch

from fulcrum.models.layers.towers import Towers


def test_tasks_may_differ_in_outputs() -> None:
    towers = Towers(4, (6,), outputs=[1, 3, 2], dropout=0.0)
    start = torch.arange(6.0)
    towers.start_at(start)
    assert towers(torch.zeros(5, 3, 4)).shape == (5, 6)
    with torch.no_grad():
        towers.last.weight.zero_()
    assert (towers(torch.randn(5, 3, 4)) == start).all()


def test_a_tower_reads_its_own_task() -> None:
    towers, z = Towers(4, (6,), outputs=[1, 3, 2], dropout=0.0), torch.randn(5, 3, 4)
    changed = z.clone()
    changed[:, 1] += 1
    same = (towers(z) == towers(changed)).all(0)
    assert same.tolist() == [True, False, False, False, True, True]


def test_without_hidden_layers_a_tower_is_linear() -> None:
    towers, z = Towers(4, (), outputs=[1, 1], dropout=0.0), torch.randn(5, 2, 4)
    expected = (z * towers.last.weight[:, 0]).sum(2) + towers.last.bias[:, 0]  # type: ignore[index]
    torch.testing.assert_close(towers(z), expected)
