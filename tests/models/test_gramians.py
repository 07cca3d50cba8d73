"""Products of task gradients: each place against the gradients that autograd gives there."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor

from fulcrum.features.layout import Layout
from fulcrum.models.gramians import GRAMIANS, GramianChoice, GramianConfig
from fulcrum.models.gramians.sketch import random_bits
from fulcrum.models.network import Network
from fulcrum.models.objectives.masked import masked_mean
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from tests.models.debug import debug_model

ROWS = 24


def place(kind: str, **options: Any) -> GramianConfig:
    return TypeAdapter[GramianConfig](GramianChoice).validate_python({"kind": kind, **options})


def look(network: Network, config: GramianConfig) -> Tensor:
    """The products of a training step on random rows."""
    network.objective.place, network.objective.watching = config, True
    return network(random_batch(network.objective.layout, ROWS))[1]["products"]


def jacobian(network: Network, parameters: list[Tensor]) -> Tensor:
    """`(T, size)` gradients of the task losses, float64, straight from autograd."""
    batch, objective = random_batch(network.objective.layout, ROWS), network.objective
    fields = objective.predictor.bottom(
        objective.gather(*network.tables(batch.ids, batch.sequences)), batch.dense
    )
    row_losses, _ = objective._row_losses(objective.predictor.logits(fields), batch)
    losses = masked_mean(row_losses, batch.observed, batch.weight)[0]
    rows = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()


def cosines(products: Tensor) -> Tensor:
    norms = products.diagonal().sqrt()
    return products / torch.outer(norms, norms)


@pytest.fixture
def layout() -> Layout:
    """Ids, bags and histories that share tables, every kind of task."""
    return make_layout()


@pytest.mark.parametrize("kind", GRAMIANS)
def test_products_are_symmetric_and_positive_and_leave_the_step_alone(
    kind: str, layout: Layout
) -> None:
    network = make_network(layout, debug_model("mmoe"))
    network(random_batch(layout, ROWS))[0].backward()
    plain = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    network.objective.place, network.objective.watching = place(kind), True
    loss, out = network(random_batch(layout, ROWS))
    loss.backward()
    for parameter, grad in zip(network.parameters(), plain, strict=True):
        assert parameter.grad is not None and torch.equal(parameter.grad, grad)
    products = out["products"]
    assert products.shape == (5, 5) and products.dtype == torch.float64
    torch.testing.assert_close(products, products.T)
    assert (torch.linalg.eigvalsh(products) > -1e-12).all() and (products.diagonal() > 0).all()


@pytest.mark.parametrize("name", ["mmoe", "stem", "dtrn"])
def test_rows_are_the_gradients_of_the_tables(name: str, layout: Layout) -> None:
    """With one copy of the tables or several, pooled or not, and fields per task."""
    network = make_network(layout, debug_model(name))
    rows = jacobian(network, list(network.tables.parameters()))
    torch.testing.assert_close(look(network, place("rows")), rows @ rows.T, rtol=1e-4, atol=1e-9)


def test_dense_adds_the_parameters_below_the_towers(layout: Layout) -> None:
    network = make_network(layout, debug_model("ple"))
    towers = list(network.objective.predictor.towers.parameters())
    shared = [p for p in network.parameters() if all(p is not t for t in towers)]
    rows = jacobian(network, shared)
    seen = look(network, place("rows", dense=True))
    torch.testing.assert_close(seen, rows @ rows.T, rtol=1e-4, atol=1e-9)


def test_the_sketch_is_exact_in_the_mean(layout: Layout) -> None:
    """Over 200 salts, within four standard errors, which the worst of 15 entries keeps."""
    network = make_network(layout, debug_model("mmoe"))
    exact = look(network, place("rows"))
    salts = []
    for salt in range(200):
        network.objective.salt = salt
        salts.append(look(network, place("sketch", buckets=64)))
    seen = torch.stack(salts)
    error = seen.std(0) / len(seen) ** 0.5
    assert ((seen.mean(0) - exact).abs() < 4 * error).all()


def test_the_sketch_keeps_cosines(layout: Layout) -> None:
    buckets = 1024
    network = make_network(layout, debug_model("mmoe"))
    exact = cosines(look(network, place("rows")))
    errors = []
    for salt in range(50):
        network.objective.salt = salt
        seen = cosines(look(network, place("sketch", buckets=buckets)))
        errors.append((seen - exact).abs())
    assert (torch.stack(errors) < 4 / buckets**0.5).double().mean() > 0.99


def test_a_task_that_is_observed_nowhere_has_no_gradient(layout: Layout) -> None:
    network, batch = make_network(layout, debug_model("mmoe")), random_batch(layout, ROWS)
    batch.observed[:, 2] = False
    network.objective.watching = True
    products = network(batch)[1]["products"]
    assert not products[2].any() and not products[:, 2].any()


def test_tasks_with_tables_of_their_own_have_orthogonal_gradients() -> None:
    network = make_network(make_layout(binary_tasks(3)), debug_model("single_task"))
    products = look(network, place("rows"))
    assert torch.equal(products, products.diagonal().diag())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**45), min_size=1, max_size=50), st.integers(0, 2**40))
def test_mix_is_the_finaliser_of_splitmix64(keys: list[int], salt: int) -> None:
    def reference(key: int) -> int:
        mask = 2**64 - 1
        x = (key + 0x9E3779B97F4A7C15 * (salt + 1)) & mask
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
        return (x ^ x >> 31) & 0x7FFFFFFFFFFFFFFF

    assert random_bits(torch.tensor(keys), salt).tolist() == [reference(key) for key in keys]
