"""How weights enter the step: at the losses, or at what towers send down; the tables step once."""

import pytest
import torch
from torch import Tensor
from torchjd.aggregation import Constant
from torchjd.autojac import jac_to_grad, mtl_backward
from torchrec.optim import RowWiseAdagrad
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

from fulcrum.models.gramians.rows import RowsConfig
from fulcrum.models.network import Network
from fulcrum.models.objectives.masked import masked_mean
from fulcrum.models.weightings import StaticConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from tests.models.debug import debug_model

WEIGHTS = {"t0": 0.5, "t1": 2.0, "t2": 0.5}


def network(weighting: StaticConfig | UPGradConfig, histories: bool = True) -> Network:
    torch.manual_seed(0)
    layout = make_layout(binary_tasks(3), histories=histories)
    return make_network(layout, debug_model("mmoe"), weighting)


def gradients(made: Network) -> dict[str, Tensor]:
    made(random_batch(made.objective.layout, 16))[0].backward()
    return {n: p.grad for n, p in made.named_parameters() if p.grad is not None}


def test_at_the_representation_the_shared_part_is_weighted_and_towers_are_not() -> None:
    plain = gradients(network(StaticConfig()))
    at_loss = gradients(network(StaticConfig(weights=WEIGHTS)))
    above = gradients(network(StaticConfig(weights=WEIGHTS, apply="representation")))
    for name, gradient in above.items():
        expected = plain if ".towers." in name else at_loss
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7)
        if ".towers." in name:
            assert not torch.equal(gradient, at_loss[name])


def test_watched_products_are_those_of_the_losses_wherever_weights_enter() -> None:
    products = []
    for apply in ("loss", "representation"):
        made = network(StaticConfig(weights={**WEIGHTS, "t0": 0.0}, apply=apply))  # type: ignore[arg-type]
        made.objective.watching = True
        products.append(made(random_batch(made.objective.layout, 16))[1]["products"])
    torch.testing.assert_close(products[1], products[0], rtol=1e-6, atol=1e-12)


def test_the_reference_route_agrees_with_the_representation() -> None:
    """torchjd's backward from the tables' output: Jacobians of trunk and vectors, aggregated with
    the weights that were found, then one backward into the tables."""
    made = network(UPGradConfig(apply="representation"), histories=False)
    layout, objective = made.objective.layout, made.objective
    made.objective.place = RowsConfig(dense=True)
    batch = random_batch(layout, 16)
    seen = {}
    made(batch)[0].backward()
    weights = objective.weighting.latest.clone()  # type: ignore[union-attr]
    for name, parameter in made.named_parameters():
        seen[name] = parameter.grad.clone()  # type: ignore[union-attr]
    made.zero_grad()

    pooled, unpooled = made.tables(batch.ids, batch.sequences)
    leaf = pooled.values().detach().requires_grad_()
    stand_in = type(pooled)(pooled.keys(), pooled.length_per_key(), leaf)
    fields = objective.predictor.bottom(objective.gather(stand_in, unpooled), batch.dense)
    z = objective.predictor.represent(fields)
    logits = objective.predictor.towers(z)
    row_losses, _ = objective._row_losses(logits, batch)
    losses = masked_mean(row_losses, batch.observed, batch.weight)[0]
    shared = [*objective.predictor.shared_parameters(), leaf]
    towers = [list(objective.predictor.towers.parameters())] * 3
    mtl_backward(
        list(losses),
        features=z,
        tasks_params=towers,
        shared_params=shared,
        retain_graph=True,
        parallel_chunk_size=1,
    )
    jac_to_grad(shared, Constant(weights.float()))
    pooled.values().backward(leaf.grad)
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(parameter.grad, seen[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("apply", ["loss", "representation"])
def test_tables_step_once_and_as_if_the_weights_were_fixed(apply: str) -> None:
    """Under UPGrad and under the same weights stated: the same tables, bit for bit, whose Adagrad
    saw the square of one combined gradient."""
    found = fused(UPGradConfig(apply=apply))  # type: ignore[arg-type]
    weights = found.objective.weighting.latest  # type: ignore[union-attr]
    stated = {f"t{t}": float(w) for t, w in enumerate(weights)}
    again = fused(StaticConfig(weights=stated, normalise=False, apply=apply))  # type: ignore[arg-type]
    combined = gradients(network(StaticConfig(weights=stated, normalise=False)))
    others = dict(again.tables.named_parameters())
    for name, table in found.tables.named_parameters():
        assert torch.equal(table, others[name])
        (optimizer,) = table._in_backward_optimizers  # type: ignore[attr-defined]
        (total,) = [v for k, v in optimizer.state[table].items() if k.endswith("sum")]
        expected = combined[f"tables.{name}"].square().mean(1)
        assert expected.any()
        torch.testing.assert_close(total.flatten(), expected, rtol=1e-4, atol=1e-8)


def fused(weighting: StaticConfig | UPGradConfig) -> Network:
    """One step, tables stepping in backward."""
    made = network(weighting)
    apply_optimizer_in_backward(RowWiseAdagrad, made.tables.parameters(), {"lr": 0.1})
    made(random_batch(made.objective.layout, 16))[0].backward()
    return made
