"""The whole network: its outputs, masks, precision, weights and per-task gradients."""

import numpy as np
import pytest
import torch

from fulcrum.features.layout import TaskSpec
from fulcrum.models.network import Network
from fulcrum.models.trunks import MMoEConfig, TrunkConfig
from fulcrum.models.weightings import StaticConfig
from fulcrum.testing.layouts import TASKS, binary_tasks, make_layout, random_arrays, random_batch
from fulcrum.testing.networks import CPU, make_network, score
from tests.models.debug import debug_model

MODEL = MMoEConfig(embedding_dim=4, experts=3, expert=(16, 8), tower=(8,))


def make(model: TrunkConfig = MODEL, tasks: tuple[TaskSpec, ...] = TASKS) -> Network:
    return make_network(make_layout(tasks), model)


def test_outputs_have_the_promised_shapes_and_ranges() -> None:
    layout = make_layout()
    _, out = make()(random_batch(layout, 20))
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "losses": (5,),
        "weights": (5,),
        "scores": (20, len(layout.score_columns)),
        "row_losses": (20, 5),
    }
    assert not any(value.requires_grad for value in out.values())
    named = dict(zip(layout.score_columns, out["scores"].T, strict=True))
    assert (named["buy"] <= named["click"]).all()
    classes = torch.stack([named["tab.a"], named["tab.b"], named["tab.c"]])
    torch.testing.assert_close(classes.sum(0), torch.ones(20))


def test_a_fresh_network_scores_the_training_rates() -> None:
    layout = make_layout()
    network = Network(layout, MODEL, tables_device=CPU)
    with torch.no_grad():
        network.objective.predictor.towers.last.weight.zero_()
    row = score(network, layout, random_arrays(layout, 3))[2]
    third = 1 / 3
    expected = [0.3, 0.06, np.expm1(2.0), third, third, third, 0.1]
    assert row.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_the_weighted_sum_of_masked_means() -> None:
    layout = make_layout()
    network = make_network(layout, MODEL, StaticConfig(weights={"buy": 3.0}))
    batch = random_batch(layout, 20)
    loss, out = network(batch)
    counted = batch.observed * batch.weight[:, None]
    losses = (out["row_losses"] * counted).sum(0) / counted.sum(0)
    torch.testing.assert_close(out["losses"], losses)
    assert out["weights"].tolist() == pytest.approx([5 / 7, 15 / 7, 5 / 7, 5 / 7, 5 / 7])
    torch.testing.assert_close(loss.detach(), (out["weights"] * losses).sum())


def test_divided_by_rows_the_losses_are_weighted_sums_by_observed_rows() -> None:
    layout = make_layout()
    network = Network(layout, MODEL, tables_device=CPU, divide_by="rows")
    batch = random_batch(layout, 20)
    loss, out = network(batch)
    counted = batch.observed * batch.weight[:, None]
    losses = (out["row_losses"] * counted).sum(0) / batch.observed.sum(0)
    torch.testing.assert_close(out["losses"], losses)
    torch.testing.assert_close(loss.detach(), losses.sum())


def test_the_latest_losses_are_those_of_the_step_where_no_weight_has_moved() -> None:
    """With the step's dropout masks; nothing is drawn, and batch norms learn nothing."""
    network = make(debug_model("home", dropout=0.5))
    batch = random_batch(make_layout(), 20)
    _, out = network(batch)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    pooled, unpooled, _ = network.inputs(batch)
    assert torch.equal(network.objective.latest_losses(pooled, unpooled), out["losses"])
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not torch.equal(network(batch)[1]["losses"], out["losses"])


def test_labels_that_are_not_observed_are_never_read() -> None:
    layout = make_layout()
    network, batch = make_network(layout, MODEL), random_batch(layout, 20)
    batch.observed[:, 3] = False
    before, out = network(batch)
    batch.labels[~batch.observed] = float("nan")
    after, _ = network(batch)
    assert torch.equal(before, after) and before.isfinite()
    assert not out["row_losses"][~batch.observed].any()
    after.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert not network.objective.predictor.towers.last.weight.grad[3].any()  # type: ignore[index]


def test_bfloat16_stays_inside_the_dense_part() -> None:
    layout, batch = make_layout(), random_batch(make_layout(), 64)
    exact = make_network(layout, MODEL)
    mixed = Network(layout, MODEL, tables_device=CPU, precision=torch.bfloat16)
    mixed.load_state_dict(exact.state_dict())
    (loss, out), (exact_loss, exact_out) = mixed(batch), exact(batch)
    assert loss.dtype == torch.float32 and {v.dtype for v in out.values()} == {torch.float32}
    assert not torch.equal(out["scores"], exact_out["scores"])
    torch.testing.assert_close(loss, exact_loss, rtol=2e-2, atol=2e-2)
    loss.backward()
    assert {p.grad.dtype for p in mixed.parameters() if p.grad is not None} == {torch.float32}

    mixed.load_state_dict(exact.state_dict())  # each has followed its own scores
    mixed.eval(), exact.eval()
    assert torch.equal(mixed(batch)[1]["scores"], exact(batch)[1]["scores"])


def test_diagnostics_are_the_gates_and_experts_of_the_batch() -> None:
    network, batch = make(), random_batch(make_layout(), 20)
    (seen,) = network.objective.diagnostics(*network.inputs(batch))
    assert seen.gates is not None and seen.gates.shape == (20, 5, 3)
    assert seen.experts.shape == (20, 3, 8)
    assert seen.outputs == tuple(task.name for task in TASKS)
    torch.testing.assert_close(seen.gates.sum(2), torch.ones(20, 5))


def test_a_weighting_may_ask_for_the_gramian_in_the_middle_of_a_step() -> None:
    """It sees the true gradients, and asking changes neither the loss nor its gradient."""
    layout = make_layout(binary_tasks(3))
    network, batch = make_network(layout, MODEL, StaticConfig()), random_batch(layout, 20)
    network(batch)[0].backward()
    plain = [p.grad.clone() for p in network.parameters() if p.grad is not None]

    asked: list[torch.Tensor] = []
    weighting = network.objective.weighting
    assert weighting is not None
    network.zero_grad()
    weighting.register_forward_pre_hook(lambda _, args: asked.append(args[0].gramian))
    network(batch)[0].backward()
    for parameter, grad in zip(network.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, grad)  # type: ignore[arg-type]
    (gram,) = asked
    assert gram.shape == (3, 3) and torch.equal(gram, gram.T)
    assert (torch.linalg.eigvalsh(gram) > -1e-12).all() and (gram.diagonal() > 0).all()


def test_same_seed_same_network() -> None:
    layout = make_layout()
    first, second = (
        (torch.manual_seed(3), Network(layout, MODEL, tables_device=CPU))[1] for _ in range(2)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_tables_are_left_to_their_owner_unless_told() -> None:
    network = Network(make_layout(), MODEL)
    assert {p.device.type for p in network.tables.parameters()} == {"meta"}
    assert {p.device.type for p in network.objective.parameters()} == {"cpu"}
