"""A part may add a loss of its own: it is part of the gradient, once, and told by name."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from fulcrum.models.network import Network
from fulcrum.models.part import AuxiliaryLoss
from fulcrum.models.regularisers import SAMConfig
from fulcrum.models.trunks import SharedBottomConfig, Trunk
from fulcrum.models.weightings import StaticConfig
from fulcrum.pipelines.training.throughput import Meter
from fulcrum.testing.layouts import make_layout, random_batch
from fulcrum.testing.networks import make_network

LAYOUT, WEIGHT = make_layout(), 0.3


class QuietTrunk(Trunk):
    """A linear map for every task."""

    def __init__(self, inputs: int, tasks: int) -> None:
        super().__init__()
        self.width, self.tasks = 6, tasks
        self.linear = torch.nn.Linear(inputs, self.width)

    def forward(self, fields: Tensor) -> Tensor:
        return self.linear(fields.flatten(1))[:, None].expand(-1, self.tasks, -1)


class FrugalTrunk(QuietTrunk):
    """The same, which wants its outputs small."""

    def forward(self, fields: Tensor) -> Tensor:
        z = super().forward(fields)
        if self.training:
            self.size = z.square().mean()
        return z

    def auxiliary_losses(self) -> Mapping[str, AuxiliaryLoss]:
        return {"size": AuxiliaryLoss(self.size, WEIGHT)}


class ToyConfig(SharedBottomConfig):
    frugal: bool = True

    def build(self, fields: Sequence[str], tasks: Sequence[str]) -> QuietTrunk:  # type: ignore[override]
        made = FrugalTrunk if self.frugal else QuietTrunk
        return made(len(fields) * self.embedding_dim, len(tasks))


def make(frugal: bool = True, weighting: StaticConfig | None = None) -> Network:
    torch.manual_seed(0)
    return make_network(LAYOUT, ToyConfig(embedding_dim=4, tower=(8,), frugal=frugal), weighting)


def gradients(loss: Tensor, network: Network) -> list[Tensor]:
    grads = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return list(grads)


@pytest.mark.parametrize("settings", [None, {}, {"apply": "representation"}, {"sam": True}])
def test_it_is_added_once_outside_all_weights(settings: dict[str, object] | None) -> None:
    """Whatever weighs or regularises the tasks, the difference is the weighted term alone."""
    sam = bool(settings) and "sam" in settings
    weighting = None
    if settings is not None:
        kept = {k: v for k, v in settings.items() if k != "sam"}
        weighting = StaticConfig(weights={"buy": 3.0}, **kept)  # type: ignore[arg-type]
    frugal, quiet = make(True, weighting), make(False, weighting)
    if sam:
        for network in (frugal, quiet):
            network.objective.regulariser = SAMConfig(rho=0.01).build()
    batch = random_batch(LAYOUT, 20)
    loss, out = frugal(batch)
    plain, before = quiet(batch)

    torch.testing.assert_close(loss - plain, WEIGHT * out["auxiliary/size"])
    assert set(out) - set(before) == {"auxiliary/size"}
    assert all(torch.equal(out[name], before[name]) for name in before)

    lookup = frugal.inputs(batch)
    predictor = frugal.objective.predictor
    z = predictor.represent(predictor.bottom(frugal.objective.gather(*lookup[:2]), batch.dense))
    alone = gradients(WEIGHT * z.square().mean(), frugal)
    moved = zip(gradients(loss, frugal), gradients(plain, quiet), alone, strict=True)
    for with_it, without, expected in moved:
        torch.testing.assert_close(with_it - without, expected, rtol=1e-4, atol=1e-6)
    assert any(grad.any() for grad in alone)


def test_it_is_none_of_eval_mode() -> None:
    frugal, quiet, batch = make(True).eval(), make(False).eval(), random_batch(LAYOUT, 20)
    loss, out = frugal(batch)
    assert torch.equal(loss, quiet(batch)[0]) and "auxiliary/size" not in out


def test_two_parts_may_not_share_a_name() -> None:
    network = make()
    predictor = network.objective.predictor
    predictor.interaction.auxiliary_losses = predictor.trunk.auxiliary_losses  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="`size`"):
        network(random_batch(LAYOUT, 20))


def test_its_mean_over_steps_is_tracked() -> None:
    network, meter = make(), Meter()
    values = []
    for seed in range(3):
        _, out = network(random_batch(LAYOUT, 20, seed))
        meter.add(out, world=1)
        values.append(out["auxiliary/size"].item())
    assert meter.mean_auxiliary() == {"auxiliary/size": pytest.approx(sum(values) / 3)}
