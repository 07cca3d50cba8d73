"""Regularisers: what each does to the losses and the gradient, and that they go with weightings."""

import math
from typing import Literal

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from fulcrum.models.network import Network
from fulcrum.models.regularisers import REGULARISERS, Look, RegulariserChoice, RegulariserConfig
from fulcrum.models.regularisers.f_mtl import FMTLConfig
from fulcrum.models.regularisers.rep_mtl import alignment, saliency_entropy
from fulcrum.models.regularisers.sam import SAMConfig
from fulcrum.models.regularisers.samo import SAMOConfig
from fulcrum.models.step import Step
from fulcrum.models.weightings import Setting, StaticConfig, Weighting, WeightingConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from tests.models.debug import debug_model

NAMES = [name for name in REGULARISERS if name != "none"]
WEIGHTINGS = {
    "static": StaticConfig(weights={"t1": 3.0}),
    "upgrad": UPGradConfig(),
    "representation": UPGradConfig(apply="representation"),
}


class RowsConfig(WeightingConfig):
    """The weighting of rows below."""

    method: Literal["rows"] = "rows"

    def build(self, setting: Setting) -> "HalfTheRows":
        return HalfTheRows(self, setting)


class HalfTheRows(Weighting):
    """As an agent does it: weights by row and task, here 0 for every second row."""

    def weigh(self, step: Step) -> Tensor:
        rows, tasks = step.rows.losses.shape
        return (torch.arange(rows) % 2)[:, None] * torch.linspace(0.5, 2, tasks)


def regulariser(kind: str, **settings: object) -> RegulariserConfig:
    adapter = TypeAdapter[RegulariserConfig](RegulariserChoice)
    return adapter.validate_python({"kind": kind, **settings})


def network(
    name: str, config: RegulariserConfig | None, weighting: WeightingConfig | None = None
) -> Network:
    """With dropout, whose masks a second pass has to repeat."""
    torch.manual_seed(0)
    layout = make_layout(binary_tasks(3))
    made = make_network(layout, debug_model(name, dropout=0.2), weighting or StaticConfig())
    made.objective.regulariser = config.build() if config else None
    return made


def gradients(made: Network) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a step, always with the same draws."""
    torch.manual_seed(1)
    made.zero_grad()
    loss, _ = made(random_batch(made.objective.layout, 16))
    loss.backward()
    grads = {n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None}
    return loss.detach(), grads


class Quadratic:
    """T tasks L_t = theta' H_t theta / 2, all of whose parameters are shared."""

    def __init__(self, tasks: int = 2, size: int = 4) -> None:
        torch.manual_seed(2)
        roots = torch.randn(tasks, size, size, dtype=torch.float64)
        self.hessians = roots @ roots.transpose(1, 2)
        self.theta = nn.Parameter(torch.randn(size, dtype=torch.float64))

    def losses(self, parameters: dict[str, Tensor]) -> Tensor:
        theta = parameters["theta"]
        return torch.stack([theta @ hessian @ theta / 2 for hessian in self.hessians])

    def look(self, weights: Tensor) -> Look:
        theta = {"theta": self.theta}
        losses = self.losses(theta)
        total = (weights * losses).sum()
        return Look(losses, total, torch.empty(0), theta, theta, self.losses, 0)


@pytest.mark.parametrize("kind", REGULARISERS)
def test_is_listed_and_round_trips(kind: str) -> None:
    config = REGULARISERS[kind]()
    assert config.source and config.summary
    assert TypeAdapter(RegulariserChoice).validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("rho", [1e-3, 1e-2])
def test_sam_adds_the_hessian_along_the_gradient(rho: float) -> None:
    """g(theta + eps) - g(theta) = rho H g / ||g||, exactly of a quadratic."""
    world, weights = Quadratic(), torch.tensor([0.5, 1.5], dtype=torch.float64)
    hessian = (weights[:, None, None] * world.hessians).sum(0)
    g = (hessian @ world.theta).detach()
    losses, extra = SAMConfig(rho=rho).build()(world.look(weights))
    (seen,) = torch.autograd.grad((weights * losses).sum() + extra, world.theta)
    torch.testing.assert_close(seen - g, rho * hessian @ g / g.norm())


def test_f_mtl_adds_to_each_task_its_own_hessian() -> None:
    world, rho, ones = Quadratic(), 1e-2, torch.ones(2, dtype=torch.float64)
    losses, _ = FMTLConfig(rho=rho).build()(world.look(ones))
    for hessian, loss in zip(world.hessians, losses, strict=True):
        g = (hessian @ world.theta).detach()
        (seen,) = torch.autograd.grad(loss, world.theta, retain_graph=True)
        torch.testing.assert_close(seen - g, rho * hessian @ g / g.norm())


def test_adaptive_perturbs_by_the_size_of_a_parameter() -> None:
    """eps = rho theta^2 g / || |theta| g ||: no part of it where a parameter is 0."""
    world, rho, ones = Quadratic(), 1e-2, torch.ones(2, dtype=torch.float64)
    with torch.no_grad():
        world.theta[0] = 0
    hessian, theta = world.hessians.sum(0), world.theta.detach()
    g = hessian @ theta
    eps = rho * theta**2 * g / (theta.abs() * g).norm()
    losses, _ = SAMConfig(rho=rho, adaptive=True).build()(world.look(ones))
    (seen,) = torch.autograd.grad(losses.sum(), world.theta)
    torch.testing.assert_close(seen, hessian @ (theta + eps))
    assert eps[0] == 0


def test_samo_with_the_common_direction_alone_is_sam_of_the_mean() -> None:
    world, half = Quadratic(), torch.full((2,), 0.5, dtype=torch.float64)
    sam, _ = SAMConfig(rho=0.1).build()(world.look(half))
    samo, _ = SAMOConfig(rho=0.1, a=1.0).build()(world.look(half))
    torch.testing.assert_close(samo, sam)


def test_samo_leans_up_the_guess_of_each_task() -> None:
    """With the local direction alone a task is looked at where the guess says it rises."""
    world, ones = Quadratic(), torch.ones(2, dtype=torch.float64)
    look = world.look(ones)
    losses, _ = SAMOConfig(rho=1e-3, a=0.0).build()(look)
    assert (losses > look.losses).all()


@pytest.mark.parametrize("kind", ["sam", "f_mtl", "samo"])
@pytest.mark.parametrize("name", ["mmoe", "home"])
def test_no_perturbation_is_no_regulariser(kind: str, name: str) -> None:
    """The same dropout masks and batch statistics, and parameters that were never touched. SAM goes
    back through one pass, to the same bits; the others sum the gradients of several, rounded."""
    plain, bent = network(name, None), network(name, regulariser(kind, rho=0))
    before = {n: p.clone() for n, p in bent.named_parameters()}
    (loss, expected), (again, seen) = gradients(plain), gradients(bent)
    assert torch.equal(again, loss)
    for key, gradient in expected.items():
        if kind == "sam":
            assert torch.equal(seen[key], gradient), key
        torch.testing.assert_close(seen[key], gradient, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(p, before[n]) for n, p in bent.named_parameters())
    for (key, buffer), other in zip(plain.named_buffers(), bent.buffers(), strict=True):
        assert torch.equal(buffer, other), key


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("name", ["mmoe", "home"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_parameter_takes_part_under_every_weighting(
    kind: str, name: str, weighting: str
) -> None:
    """DDP's static graph needs it, and the gradient is another than without."""
    made = network(name, regulariser(kind), WEIGHTINGS[weighting])
    loss, seen = gradients(made)
    assert loss.isfinite()
    for key, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    _, plain = gradients(network(name, None, WEIGHTINGS[weighting]))
    assert any(not torch.allclose(seen[key], plain[key]) for key in plain)


def test_weights_multiply_the_perturbed_losses() -> None:
    """A task of weight 0 leaves no gradient in its tower."""
    weights = StaticConfig(weights={"t1": 0.0})
    for kind in ("sam", "f_mtl", "samo"):
        made = network("mmoe", regulariser(kind), weights)
        _, seen = gradients(made)
        tower = seen["objective.predictor.towers.last.weight"]
        assert not tower[1].any() and tower[0].any(), kind


@pytest.mark.parametrize(
    ("kind", "weighting"),
    [
        ("sam", StaticConfig(weights={"t0": 3.0, "t2": 0.5})),
        ("f_mtl", StaticConfig(weights={"t0": 3.0, "t2": 0.5})),
        ("samo", StaticConfig(weights={"t0": 3.0, "t2": 0.5})),
        ("sam", RowsConfig()),
    ],
)
def test_towers_that_scale_are_perturbed_as_weighted_losses_are(
    kind: str, weighting: WeightingConfig
) -> None:
    """Whichever way weights enter: the same perturbed point, so the same gradient below towers."""
    seen = {}
    for apply in ("loss", "representation"):
        entered = weighting.model_copy(update={"apply": apply})
        _, seen[apply] = gradients(network("mmoe", regulariser(kind), entered))
    towers = {key for key in seen["loss"] if ".towers." in key}
    for key in seen["loss"].keys() - towers:
        torch.testing.assert_close(
            seen["representation"][key], seen["loss"][key], rtol=1e-4, atol=1e-6
        )
    assert any(not torch.allclose(seen["representation"][k], seen["loss"][k]) for k in towers)


@pytest.mark.parametrize("kind", NAMES)
def test_rows_may_have_their_own_weights(kind: str) -> None:
    """Rows of weight 0 leave no trace, wherever the gradient is taken."""
    made = network("mmoe", regulariser(kind), RowsConfig())
    _, seen = gradients(made)
    _, plain = gradients(network("mmoe", regulariser(kind)))
    assert all(g.isfinite().all() for g in seen.values())
    tables = [key for key in seen if key.startswith("tables.")]
    assert any(seen[k].any(1).sum() < plain[k].any(1).sum() for k in tables)


def test_rep_mtl_sees_the_losses_before_they_are_weighted() -> None:
    extra = {}
    weights = {"t0": 3.0, "t2": 0.5}
    for apply in ("loss", "representation"):
        weighting = StaticConfig(apply=apply, weights=weights)  # type: ignore[arg-type]
        bent, _ = gradients(network("mmoe", regulariser("rep_mtl"), weighting))
        plain, _ = gradients(network("mmoe", None, weighting))
        extra[apply] = bent - plain
    assert extra["loss"].abs() > 0.1
    torch.testing.assert_close(extra["representation"], extra["loss"], rtol=1e-4, atol=1e-5)


def test_saliencies_that_are_alike_have_the_entropy_of_all_tasks() -> None:
    saliency = torch.rand(1, 5, 4, 3).expand(3, 5, 4, 3)
    assert saliency_entropy(saliency).item() == pytest.approx(math.log(3), rel=1e-5)


def test_saliencies_of_one_task_a_location_have_none() -> None:
    saliency = torch.zeros(3, 5, 6, 2)
    for field in range(6):
        saliency[field % 3, :, field] = torch.rand(5, 2) + 0.1
    assert saliency_entropy(saliency).item() == pytest.approx(0, abs=1e-6)


def test_alignment_is_least_where_tasks_look_like_their_row_and_rows_differ() -> None:
    rows = torch.eye(4)[:, None].expand(4, 2, 4)
    together = rows[None].expand(3, 4, 2, 4)
    tau = 0.5
    # own similarity 1, that to each of three others 0
    assert alignment(together, tau, 4).item() == pytest.approx(math.log(3) - 1 / tau, rel=1e-5)
    same = torch.ones(3, 4, 2, 4)
    assert alignment(same, tau, 4).item() == pytest.approx(math.log(3), rel=1e-5)


def test_terms_of_rep_mtl_pass_a_finite_difference_check() -> None:
    torch.manual_seed(0)
    saliency = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(saliency_entropy, (saliency,))
    assert torch.autograd.gradcheck(lambda s: alignment(s, 0.5, 3), (saliency,))


def test_rep_mtl_passes_a_finite_difference_check_through_towers() -> None:
    """Second order: from what lies below the fields, and from a tower's own weights."""
    torch.manual_seed(0)
    first, last = torch.randn(6, 5, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    labels, build = torch.rand(4, 3, dtype=torch.float64).round(), regulariser("rep_mtl").build()
    assert build is not None

    def extra(below: Tensor, first: Tensor) -> Tensor:
        fields = below.tanh()
        logits = (fields.flatten(1) @ first).tanh() @ last
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        look = Look(losses.mean(0), losses.sum(), fields, {}, {}, lambda _: losses.mean(0), 0)
        return build(look)[1]

    below = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(extra, (below, first.requires_grad_()))


def test_alignment_looks_at_the_first_rows_alone() -> None:
    saliency = torch.randn(2, 5, 3, 2)
    assert torch.equal(alignment(saliency, 0.5, 3), alignment(saliency[:, :3], 0.5, 9))
    assert alignment(saliency, 0.5, 1) == 0


def test_rep_mtl_goes_backward_to_the_tables() -> None:
    """The extra term has a gradient of its own at the fields: second order, through the towers."""
    plain, bent = network("mmoe", None), network("mmoe", regulariser("rep_mtl"))
    (_, expected), (_, seen) = gradients(plain), gradients(bent)
    tables = [key for key in expected if key.startswith("tables.")]
    assert tables and all(not torch.equal(seen[key], expected[key]) for key in tables)


@pytest.mark.parametrize("kind", NAMES)
def test_learns_a_planted_signal(kind: str) -> None:
    made = network("mmoe", regulariser(kind))
    batch = random_batch(made.objective.layout, 256)
    batch.labels[:] = (batch.dense[:, :1] > 0).float()
    batch.observed[:] = True
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss, out = made(batch)
        loss.backward()
        optimizer.step()
    assert (out["losses"] < math.log(2) / 2).all(), out["losses"]
