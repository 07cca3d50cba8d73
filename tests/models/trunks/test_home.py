"""HoME: the contract, the networks to which it must reduce, and whom each loss reaches."""

import torch

from tests.models.contract import TrunkContract


class TestHoME(TrunkContract):
    name = "home"

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Level 2's experts are those of three tasks, one each, two of their category, two shared;
        its feature gates have two adapters each."""
        first = {
            ".level2.experts.": [1, 0, *range(2, 7)],
            ".level2.features.mixture.": [1, 0, *range(2, 5)],
            ".level2.features.": [2, 3, 0, 1, *range(4, 10)],
        }
        swapped = dict(super().swap_tasks(state))
        for name, value in swapped.items():
            if ".level2.gate." in name or ".level2.self_gate." in name:
                swapped[name] = value[[1, 0, 2]][:, [1, 0, *range(2, 7)]]
            for part, order in first.items():
                if part in name:
                    swapped[name] = value[order]
                    break
        return swapped
