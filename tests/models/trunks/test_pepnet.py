"""PEPNet: the contract, what its gates may do, and where gradients flow."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from fulcrum.features.errors import ConfigError
from fulcrum.models.layers.gate_nu import GateNU
from fulcrum.models.layers.stacked import StackedMLP
from fulcrum.models.trunks.pepnet import PEPNet, PEPNetConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import NetworkContract, make_network
from fulcrum.testing.trunks import TrunkContract
from tests.models.debug import MODELS, debug_model

FIELDS, TASKS = ("tab", "user", "item", "hour", "dense.0"), ("a", "b", "c")
TAB, USER, ITEM = 0, 1, 2
ROWS, D = 7, 4


def make(
    domain: tuple[str, ...] = ("tab",),
    prior: tuple[str, ...] = ("user", "item"),
    tasks: tuple[str, ...] = TASKS,
) -> PEPNet:
    config = PEPNetConfig(embedding_dim=D, domain=domain, prior=prior, hidden=(8, 6), gate_hidden=5)
    return config.build(FIELDS, tasks).double()  # type: ignore[return-value]


def some_fields() -> Tensor:
    return torch.randn(ROWS, len(FIELDS), D, dtype=torch.float64)


def gates(trunk: PEPNet) -> list[GateNU]:
    return [m for m in trunk.modules() if isinstance(m, GateNU)]


def open_gates(trunk: PEPNet) -> None:
    """W' = 0 and b' = 0 in every gate."""
    with torch.no_grad():
        for gate in gates(trunk):
            for parameter in gate.last.parameters():
                parameter.zero_()


class SwapsPEPNet(NetworkContract):
    def swap_tasks(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        def own(name: str) -> bool:
            return ".trunk.layers." in name or (".ppnet." in name and ".last." in name)

        return {
            name: value[[1, 0, 2]] if own(name) else value
            for name, value in super().swap_tasks(state).items()
        }


class TestPEPNet(SwapsPEPNet, TrunkContract):
    block = MODELS["pepnet"]
    fuses: ClassVar[bool] = False


class TestPEPNetNamed(SwapsPEPNet):
    """With a domain and priors, where the features that they name are there."""

    block = MODELS["pepnet_named"]

    @pytest.mark.parametrize("kept", ["ids", "sequences"])
    def test_sets_of_inputs_may_be_empty(self, kept: str) -> None:
        super().test_sets_of_inputs_may_be_empty(kept)

    def test_names_without_a_field_are_told(self) -> None:
        with pytest.raises(ConfigError, match=r"`tab_id`"):
            self.model().build(("dense.0",), TASKS)


def test_i13_with_zero_gates_it_is_ungated_towers_bitwise() -> None:
    trunk, fields = make(), some_fields()
    open_gates(trunk)
    towers = StackedMLP(len(TASKS), len(FIELDS) * D, (8, 6), 0.0).double()
    layers = {k: v for k, v in trunk.state_dict().items() if k.startswith("layers.")}
    towers.load_state_dict(layers)
    assert torch.equal(trunk(fields), towers(fields.flatten(1)[None]).transpose(0, 1))


@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS])
def test_i13_i19_with_zero_gates_it_is_single_task_on_shared_embeddings(
    tasks: tuple[str, ...],
) -> None:
    trunk, fields = make(tasks=tasks), some_fields()
    open_gates(trunk)
    single = SingleTaskConfig(embedding_dim=D, hidden=(8, 6)).build(FIELDS, tasks).double()
    single.load_state_dict(
        {
            name.replace("layers.", "fusion.experts.mlp.layers."): value
            for name, value in trunk.state_dict().items()
            if name.startswith("layers.")
        }
    )
    expected = single(fields.repeat(1, len(tasks), 1))
    torch.testing.assert_close(trunk(fields), expected, rtol=0, atol=1e-10)


def test_it_is_the_papers_equations() -> None:
    """Task by task, with plain matrices."""
    trunk, fields = make(), some_fields()

    def gate(nu: GateNU, n: int, x: Tensor) -> Tensor:
        hidden = (x @ nu.hidden.weight.T + nu.hidden.bias).relu()
        assert nu.last.bias is not None
        return 2 / (1 + (-(hidden @ nu.last.weight[n].T + nu.last.bias[n])).exp())

    e = fields.flatten(1)
    assert trunk.epnet is not None
    o = gate(trunk.epnet, 0, torch.cat([fields[:, TAB], e], 1)) * e
    torch.testing.assert_close(trunk.embed(fields), o, rtol=0, atol=1e-10)
    u = torch.cat([fields[:, USER], fields[:, ITEM], o], 1)
    z = trunk(fields)
    for t in range(len(TASKS)):
        h = o
        for layer, nu in zip(trunk.layers, trunk.ppnet, strict=True):
            hidden = (h @ layer.weight[t].T + layer.bias[t]).relu()  # type: ignore[operator,index,union-attr]
            h = gate(nu, t, u) * hidden  # type: ignore[arg-type]
        torch.testing.assert_close(z[:, t], h, rtol=0, atol=1e-10)


def test_gates_lie_strictly_between_0_and_2() -> None:
    gate = GateNU(10, 5, 3, 6).double()
    values = gate(20 * torch.randn(1, 500, 10, dtype=torch.float64))
    assert values.shape == (3, 500, 6)
    assert (values > 0).all() and (values < 2).all()
    assert values.min() < 0.05 and values.max() > 1.95


def gate_values(trunk: PEPNet, fields: Tensor) -> list[Tensor]:
    """What every gate gives, EPNet's first."""
    values: list[Tensor] = []
    hooks = [
        gate.register_forward_hook(lambda *args: values.append(args[2].detach()))
        for gate in gates(trunk)
    ]
    trunk(fields)
    for hook in hooks:
        hook.remove()
    return values


class Held(nn.Module):
    """A gate held at the values that it gave."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return self.values


def hold(trunk: PEPNet, fields: Tensor) -> PEPNet:
    """The same trunk with its gates held, so that the product alone leads to the embeddings."""
    held = copy.deepcopy(trunk)
    epnet, *ppnet = map(Held, gate_values(trunk, fields))
    held.epnet, held.ppnet = epnet, nn.ModuleList(ppnet)  # type: ignore[assignment]
    return held


def field_gradients(trunk: PEPNet, fields: Tensor) -> Tensor:
    fields = fields.clone().requires_grad_()
    trunk(fields).square().sum().backward()
    assert fields.grad is not None
    return fields.grad


def test_gates_move_no_embedding_but_those_that_they_name() -> None:
    """The gates' part of the gradient is exactly 0 for every field that no gate names."""
    trunk, fields = make(), some_fields()
    held = hold(trunk, fields)
    assert torch.equal(trunk(fields), held(fields))
    whole, product = field_gradients(trunk, fields), field_gradients(held, fields)
    assert product.any(2).all()
    moved = (whole != product).any(2).any(0)
    assert moved.tolist() == [True, True, True, False, False]


def test_gates_read_what_they_do_not_move() -> None:
    trunk, fields = make(), some_fields()
    changed = fields.clone()
    changed[:, 3] += 1
    before, after = gate_values(trunk, fields), gate_values(trunk, changed)
    assert len(before) == 3
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_a_task_moves_every_gates_first_layer_but_no_other_task() -> None:
    trunk = make()
    trunk(some_fields())[:, 1].sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("layers.") or (name.startswith("ppnet.") and ".last." in name):
            assert (parameter.grad[[0, 2]] == 0).all(), name
            assert parameter.grad[1].any(), name
        else:
            assert parameter.grad.any(), name


def test_a_tasks_loss_never_reaches_another_tower() -> None:
    layout = make_layout(binary_tasks(3))
    network = make_network(layout, debug_model("pepnet_named"))
    batch = random_batch(layout, 32)
    batch.observed[:, [0, 2]] = False
    network(batch)[0].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        if ".towers." in name:
            assert (parameter.grad[[0, 2]] == 0).all() and parameter.grad[1].any(), name


def test_rows_that_differ_in_domain_alone_have_other_embeddings() -> None:
    trunk, fields = make(), some_fields()[:1].repeat(2, 1, 1)
    fields[1, TAB] += 1
    others = torch.arange(len(FIELDS)) != TAB
    e, o = fields[:, others], trunk.embed(fields).unflatten(1, (-1, D))[:, others]
    assert torch.equal(e[0], e[1])
    assert (o[0] != o[1]).all()


def test_without_a_domain_embeddings_pass_as_they_are() -> None:
    trunk, fields = make(domain=()), some_fields()
    assert trunk.epnet is None
    assert torch.equal(trunk.embed(fields), fields.flatten(1))


def test_a_name_that_is_no_feature_is_told_before_anything_is_read() -> None:
    config = PEPNetConfig(domain=("tba",), prior=("user", "itme"))
    problems = dict(config.problems(FIELDS, TASKS))
    assert set(problems) == {("domain",), ("prior",)}
    assert "`tba`" in problems["domain",] and "`tab`" in problems["domain",]
    assert "`itme`" in problems["prior",] and "`item`" in problems["prior",]


def test_a_feature_without_an_embedding_is_told_with_those_that_have_one() -> None:
    config = PEPNetConfig(prior=("user", "age"))
    assert list(config.problems((*FIELDS, "age"), TASKS)) == []
    with pytest.raises(ConfigError, match=r"model\.prior: `age`.*tab, user, item, hour"):
        config.build(FIELDS, TASKS)
