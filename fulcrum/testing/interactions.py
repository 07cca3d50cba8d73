"""What every field interaction promises, beside what every network promises."""

import pytest
import torch

from fulcrum.models.interactions import INTERACTIONS, Interaction, InteractionConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import NetworkContract, make_network, small_model

ROWS, F, D = 7, 5, 4


def make(config: InteractionConfig, copies: int = 1) -> Interaction:
    return config.build(F, D, copies).double()


def some_fields(copies: int = 1) -> torch.Tensor:
    return torch.randn(ROWS, copies * F, D, dtype=torch.float64)


class InteractionContract(NetworkContract):
    """Tests that hold for every interaction; `block` is an MMoE behind it."""

    def make(self, copies: int = 1) -> Interaction:
        return make(self.model().interaction, copies)

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: value[[1, 0, 2]] if ".fusion.gate." in name else value
            for name, value in super().swap_tasks(state).items()
        }

    def test_is_listed(self) -> None:
        interaction = self.model().interaction
        config = INTERACTIONS[interaction.kind]  # type: ignore[attr-defined]
        assert type(interaction) is config
        assert config.source and config.summary

    @pytest.mark.parametrize("copies", [1, 3])
    def test_gives_as_many_fields_as_it_takes(self, copies: int) -> None:
        fields = some_fields(copies)
        out = self.make(copies)(fields)
        assert out.shape == fields.shape and out.dtype == fields.dtype

    def test_a_copy_is_an_interaction_of_its_own(self) -> None:
        """Copy c of three computes what an interaction of one copy does with its parameters."""
        three, one, fields = self.make(3), self.make(), some_fields(3)
        together = three(fields).unflatten(1, (3, F))
        for c in range(3):
            one.load_state_dict({name: p[[c]] for name, p in three.state_dict().items()})
            alone = one(fields.unflatten(1, (3, F))[:, c])
            torch.testing.assert_close(alone, together[:, c], rtol=0, atol=1e-10)

    def test_copies_never_mix(self) -> None:
        interaction, fields = self.make(3), some_fields(3).requires_grad_()
        interaction(fields).unflatten(1, (3, F))[:, 1].square().sum().backward()
        assert fields.grad is not None
        moved = fields.grad.unflatten(1, (3, F)).ne(0).any(3).any(2).any(0)
        assert moved.tolist() == [False, True, False]
        for name, parameter in interaction.named_parameters():
            assert parameter.grad is not None
            assert (parameter.grad[[0, 2]] == 0).all(), name
            assert parameter.grad[1].any(), name

    def test_single_task_networks_still_share_nothing(self) -> None:
        layout = make_layout(binary_tasks(3))
        block = {
            "architecture": "single_task",
            "hidden": [32, 16],
            "interaction": self.block["interaction"],
        }
        network = make_network(layout, small_model(block))
        batch = random_batch(layout, 32)
        batch.observed[:, [0, 2]] = False
        network(batch)[0].backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            if name.startswith("tables."):
                assert bool(parameter.grad.any()) == name.endswith("@1.weight"), name
            else:
                assert (parameter.grad[[0, 2]] == 0).all(), name
                assert parameter.grad[1].any(), name

    def test_half_precision_is_close(self) -> None:
        interaction, fields = self.make().float(), some_fields().float()
        with torch.autocast("cpu", torch.bfloat16):
            half = interaction(fields.bfloat16())
        torch.testing.assert_close(half.float(), interaction(fields), rtol=0.05, atol=0.05)
