"""What every field interaction promises, beside what every network promises."""

import pytest
import torch

from fulcrum.models.interactions import INTERACTIONS, Interaction
from tests.models.conftest import make_layout, random_batch
from tests.models.contract import NetworkContract, binary_tasks, make_network
from tests.models.debug import debug_model

ROWS, F, D = 7, 5, 4


def make(name: str, copies: int = 1, **settings: object) -> Interaction:
    config = INTERACTIONS[name].model_validate({"kind": name, **settings})
    return config.build(F, D, copies).double()


def some_fields(copies: int = 1) -> torch.Tensor:
    return torch.randn(ROWS, copies * F, D, dtype=torch.float64)


class InteractionContract(NetworkContract):
    """The network of the same name in `tests.models.debug` is mmoe behind the interaction."""

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: value[[1, 0, 2]] if ".fusion.gate." in name else value
            for name, value in super().swap_tasks(state).items()
        }

    def test_is_listed(self) -> None:
        config = INTERACTIONS[self.name]
        assert type(self.model().interaction) is config
        assert config.source and config.summary

    @pytest.mark.parametrize("copies", [1, 3])
    def test_gives_as_many_fields_as_it_takes(self, copies: int) -> None:
        fields = some_fields(copies)
        out = make(self.name, copies)(fields)
        assert out.shape == fields.shape and out.dtype == fields.dtype

    def test_a_copy_is_an_interaction_of_its_own(self) -> None:
        """Copy c of three computes what an interaction of one copy does with its parameters."""
        three, one, fields = make(self.name, 3), make(self.name), some_fields(3)
        together = three(fields).unflatten(1, (3, F))
        for c in range(3):
            one.load_state_dict({name: p[[c]] for name, p in three.state_dict().items()})
            alone = one(fields.unflatten(1, (3, F))[:, c])
            torch.testing.assert_close(alone, together[:, c], rtol=0, atol=1e-10)

    def test_copies_never_mix(self) -> None:
        interaction, fields = make(self.name, 3), some_fields(3).requires_grad_()
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
        network = make_network(layout, debug_model("single_task", interaction=self.name))
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
        interaction, fields = make(self.name).float(), some_fields().float()
        with torch.autocast("cpu", torch.bfloat16):
            half = interaction(fields.bfloat16())
        torch.testing.assert_close(half.float(), interaction(fields), rtol=0.05, atol=0.05)
