"""The contract of a trunk, and what a task may scale."""

import torch
from torch import Tensor

from fulcrum.testing.trunks import FIELDS, NAMES, TrunkContract
from shop_parts.models.film import FiLM, FiLMConfig


class TestFiLM(TrunkContract):
    block = {"architecture": "film", "hidden": [32, 16]}
    fuses = False

    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value[[1, 0, 2]] if ".gamma." in name or ".beta." in name else value
            for name, value in super().swap_tasks(state).items()
        }


def make() -> tuple[FiLM, Tensor]:
    trunk = FiLMConfig(embedding_dim=4, hidden=(16, 8)).build(FIELDS, NAMES)
    return trunk, torch.randn(7, len(FIELDS), 4)


def test_tasks_share_all_until_one_of_them_scales() -> None:
    trunk, fields = make()
    z = trunk(fields)
    assert torch.equal(z[:, 0], z[:, 1]) and torch.equal(z[:, 0], z[:, 2])
    with torch.no_grad():
        trunk.gamma[0][1] *= 2
    moved = (trunk(fields) != z).flatten(2).any(2).any(0)
    assert moved.tolist() == [False, True, False]


def test_a_unit_scaled_by_0_and_shifted_down_is_off_for_its_task_alone() -> None:
    trunk, fields = make()
    with torch.no_grad():
        trunk.gamma[-1][2] = 0
        trunk.beta[-1][2] = -1
    z = trunk(fields)
    assert not z[:, 2].any() and z[:, :2].any()
