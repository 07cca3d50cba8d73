"""ESCM²: the contract, unbiased estimates, and where its gradients stop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.models.chains.escm2 import SMALLEST_PROPENSITY, ESCM2Config
from fulcrum.models.chains.esmm import ESMM
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.testing.chains import ChainContract, chained
from fulcrum.testing.layouts import make_layout, random_batch
from fulcrum.testing.networks import make_network
from tests.models.debug import MODELS

PAIR = chained(None, "a")
ESTIMATORS = pytest.mark.parametrize("estimator", ["ips", "dr"])


class TestIPS(ChainContract):
    block = MODELS["escm2_ips"]


class TestDR(ChainContract):
    block = MODELS["escm2_dr"]


def inverse_softplus(e: torch.Tensor) -> torch.Tensor:
    return e.expm1().log()


def risk(estimator: str, logits: torch.Tensor, labels: torch.Tensor, cap: float) -> torch.Tensor:
    """R of the second task, row by row."""
    settings = {"estimator": estimator, "lambda_c": 1.0, "lambda_g": 0.0, "max_weight": cap}
    chain = ESCM2Config.model_validate(settings).build(PAIR, 8, 0.0)
    return chain.loss(logits, labels)[:, 1]


def some_logits(rows: int, outputs: int = 2) -> torch.Tensor:
    return torch.randn(rows, 2, outputs, dtype=torch.float64)


def some_labels(rows: int) -> torch.Tensor:
    return torch.randint(2, (rows, 2)).double()


def log_loss(logit: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    p = logit.sigmoid()
    return -(label * p.log() + (1 - label) * (1 - p).log())


@ESTIMATORS
def test_without_the_counterfactual_loss_it_is_esmm(estimator: str) -> None:
    """I16."""
    tasks = chained(None, "a", "b", "a", None)
    config = ESCM2Config(estimator=estimator, lambda_c=0.0, lambda_g=1.0)  # type: ignore[arg-type]
    chain, esmm = config.build(tasks, 8, 0.0), ESMM(tasks)
    logits = torch.randn(32, 5, chain.outputs, dtype=torch.float64)
    labels = torch.randint(2, (32, 5)).double()
    loss = esmm.loss(logits[:, :, :1], labels)
    torch.testing.assert_close(chain.loss(logits, labels), loss, rtol=0, atol=1e-10)
    assert torch.equal(chain.score(logits), esmm.score(logits[:, :, :1]))
    assert torch.equal(chain.start()[:, :1], esmm.start())


@ESTIMATORS
def test_only_chained_tasks_have_a_counterfactual_loss(estimator: str) -> None:
    tasks = chained(None, None)
    chain = ESCM2Config(estimator=estimator).build(tasks, 8, 0.0)  # type: ignore[arg-type]
    logits, labels = some_logits(9, chain.outputs), some_labels(9)
    assert torch.equal(chain.loss(logits, labels), ESMM(tasks).loss(logits, labels))


def test_the_loss_is_that_of_its_equations() -> None:
    """Two steps, c given b given a: the propensity of c's rows is that of the chain up to b."""
    config = ESCM2Config(lambda_c=0.3, lambda_g=0.7, max_weight=4.0)
    chain = config.build(chained(None, "a", "b"), 8, 0.0)
    logits = torch.randn(50, 3, 2, dtype=torch.float64)
    labels = torch.randint(2, (50, 3)).double()
    p = logits[:, :, 0].sigmoid().cumprod(1)
    w = (labels[:, 1] / p[:, 1]).clamp(max=4.0)
    e, imputed = log_loss(logits[:, 2, 0], labels[:, 2]), logits[:, 2, 1].exp().log1p()
    expected = 0.7 * -(labels[:, 2] * p[:, 2].log() + (1 - labels[:, 2]) * (1 - p[:, 2]).log())
    expected += 0.3 * (imputed + w * (e - imputed) + w * (e - imputed) ** 2)
    torch.testing.assert_close(chain.loss(logits, labels)[:, 2], expected, rtol=0, atol=1e-10)


ROWS, DRAWS = 40, 4000


def draws(
    propensity: torch.Tensor, own: torch.Tensor, label: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of the rows, each with the parent drawn `DRAWS` times at its propensity."""
    generator = torch.Generator().manual_seed(0)
    happened = torch.rand(DRAWS, ROWS, generator=generator) < propensity
    logits = torch.stack([propensity.logit(), own], 1)
    return (
        logits.repeat(DRAWS, 1),
        torch.stack([happened.flatten().double(), label.repeat(DRAWS)], 1),
    )


def some_rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Propensities from 0.1 to 0.9, and own logits and labels that hang together with them."""
    generator = torch.Generator().manual_seed(1)
    propensity = torch.linspace(0.1, 0.9, ROWS, dtype=torch.float64)
    own = 2 * propensity - 1 + torch.randn(ROWS, generator=generator, dtype=torch.float64)
    return propensity, own, (torch.rand(ROWS, generator=generator) < propensity).double()


def assert_unbiased(estimates: torch.Tensor, truth: torch.Tensor) -> None:
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - truth) < 3 * error
    assert error > 0


def test_with_known_propensities_both_estimators_are_unbiased() -> None:
    """Section 11, test 4: over draws of the parent, the mean of R is the loss with full
    information; of two estimates of the error, the doubly robust one varies less."""
    propensity, own, label = some_rows()
    logits, labels = draws(propensity, own, label)
    e = log_loss(own, label)
    ips = risk("ips", logits[:, :, None], labels, 100.0).view(DRAWS, ROWS).mean(1)
    assert_unbiased(ips, e.mean())

    imputed = 0.8 * e + 0.1
    second = inverse_softplus(imputed).repeat(DRAWS)
    both = torch.stack([logits, torch.stack([second, second], 1)], 2)
    rows = risk("dr", both, labels, 100.0).view(DRAWS, ROWS)
    assert_unbiased(rows.mean(1), (e + (e - imputed) ** 2).mean())

    w = labels[:, 0].view(DRAWS, ROWS) / propensity
    error = (rows - w * (e - imputed) ** 2).mean(1)
    assert_unbiased(error, e.mean())
    assert error.var() < ips.var() / 2


def test_a_naive_mean_over_the_rows_that_happened_is_biased() -> None:
    """The rows of the test above can tell: there the loss hangs together with the propensity."""
    propensity, own, label = some_rows()
    e = log_loss(own, label)
    assert abs((propensity * e).sum() / propensity.sum() - e.mean()) > 0.05


def test_a_perfect_imputation_is_exact_with_any_propensity() -> None:
    """Section 11, test 4: doubly robust."""
    logits, labels = some_logits(32), some_labels(32)
    e = log_loss(logits[:, 1, 0], labels[:, 1])
    logits[:, 1, 1] = inverse_softplus(e)
    torch.testing.assert_close(risk("dr", logits, labels, 15.0), e, rtol=0, atol=1e-10)


def test_with_nothing_imputed_it_is_ips_and_a_squared_error() -> None:
    logits, labels = some_logits(32), some_labels(32)
    logits[:, 1, 1] = -60.0
    ips = risk("ips", logits[:, :, :1], labels, 1e9)
    w = labels[:, 0] / logits[:, 0, 0].sigmoid()
    expected = ips + w * log_loss(logits[:, 1, 0], labels[:, 1]) ** 2
    torch.testing.assert_close(risk("dr", logits, labels, 1e9), expected, rtol=0, atol=1e-10)


def test_the_imputation_follows_the_error_and_never_pulls_it() -> None:
    """The conditional logit has the gradient that it has with IPS; ê has (1 - w) + 2 w (ê - e)."""
    logits, labels = some_logits(32).requires_grad_(), some_labels(32)
    dr, ips = (
        torch.autograd.grad(risk(name, logits[:, :, :n], labels, 15.0).sum(), logits)[0]
        for name, n in (("dr", 2), ("ips", 1))
    )
    torch.testing.assert_close(dr[:, 1, 0], ips[:, 1, 0], rtol=0, atol=1e-10)
    w = (labels[:, 0] / logits[:, 0, 0].sigmoid()).clamp(max=15.0)
    e, second = log_loss(logits[:, 1, 0], labels[:, 1]), logits[:, 1, 1]
    expected = second.sigmoid() * (1 - w + 2 * w * (second.exp().log1p() - e))
    torch.testing.assert_close(dr[:, 1, 1], expected.detach(), rtol=0, atol=1e-10)


def test_with_a_certain_parent_it_is_the_loss_where_the_parent_happened() -> None:
    logits, labels = some_logits(32, 1), some_labels(32)
    logits[:, 0] = 60.0
    expected = labels[:, 0] * log_loss(logits[:, 1, 0], labels[:, 1])
    torch.testing.assert_close(risk("ips", logits, labels, 15.0), expected, rtol=0, atol=1e-10)


@ESTIMATORS
def test_a_label_without_its_parent_is_never_read(estimator: str) -> None:
    """Section 11, test 3."""
    logits, labels = some_logits(64, 2 if estimator == "dr" else 1), some_labels(64)
    flipped = labels.clone()
    flipped[:, 1] = torch.where(labels[:, 0] == 0, 1 - labels[:, 1], labels[:, 1])
    assert not torch.equal(flipped, labels)
    both = (risk(estimator, logits, x, 15.0) for x in (labels, flipped))
    assert torch.equal(*both)


@settings(max_examples=50, deadline=None)
@given(st.floats(-100, 100), st.floats(1, 1e7), st.sampled_from([0.0, 1.0]))
def test_the_weight_is_capped_itself(logit: float, cap: float, happened: float) -> None:
    config = ESCM2Config(estimator="ips", max_weight=cap)
    propensity = torch.tensor(logit, dtype=torch.float64).sigmoid()
    w = config.build(PAIR, 8, 0.0).weights(propensity, torch.tensor(happened).double())
    expected = min(happened / max(propensity.item(), SMALLEST_PROPENSITY), cap)
    assert w.item() == pytest.approx(expected, rel=1e-12)


@ESTIMATORS
@pytest.mark.parametrize("first", [-40.0, 40.0])
@pytest.mark.parametrize("second", [-40.0, 40.0])
@pytest.mark.parametrize("imputed", [-40.0, 40.0])
def test_extreme_logits_stay_finite(
    estimator: str, first: float, second: float, imputed: float
) -> None:
    """Section 11, test 6."""
    chain = ESCM2Config(estimator=estimator).build(PAIR, 8, 0.0)  # type: ignore[arg-type]
    for labels in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]):
        row = [[first, imputed], [second, imputed]]
        logits = torch.tensor([row])[:, :, : chain.outputs].requires_grad_()
        loss = chain.loss(logits, torch.tensor([labels]))
        loss.sum().backward()
        assert logits.grad is not None
        assert loss.isfinite().all() and logits.grad.isfinite().all()


def gradients(model: TrunkConfig) -> dict[str, torch.Tensor]:
    """Of the second task's loss alone; the first task's labels are read all the same."""
    layout = make_layout(PAIR)
    network, batch = make_network(layout, model), random_batch(layout, 32)
    predictor = network.objective.predictor
    vectors = network.objective.gather(*network.tables(batch.ids, batch.sequences))
    logits = predictor.logits(predictor.bottom(vectors, batch.dense))
    predictor.tasks.losses(logits, batch.labels)[:, 1].mean().backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@ESTIMATORS
def test_the_counterfactual_loss_never_reaches_the_parents_network(estimator: str) -> None:
    """Section 11, test 5: with separate networks its gradient there is exactly 0, while the loss
    over the entire space reaches both."""
    for lambda_g in (0.0, 1.0):
        chain = ESCM2Config(estimator=estimator, lambda_c=1.0, lambda_g=lambda_g)  # type: ignore[arg-type]
        model = SingleTaskConfig(embedding_dim=4, hidden=(8, 6), tower=(5,), chain=chain)
        for name, grad in gradients(model).items():
            if name.startswith("tables."):
                assert grad.any() == (name.endswith("@1.weight") or lambda_g > 0), name
            else:
                assert grad[1].any(), name
                assert bool(grad[0].any()) == (lambda_g > 0), name


@ESTIMATORS
def test_a_shared_trunk_is_reached_through_the_tasks_own_tower_alone(estimator: str) -> None:
    """Section 11, test 5."""
    chain = ESCM2Config(estimator=estimator, lambda_c=1.0, lambda_g=0.0)  # type: ignore[arg-type]
    model = SharedBottomConfig(embedding_dim=4, hidden=(8, 6), tower=(5,), chain=chain)
    for name, grad in gradients(model).items():
        if ".towers." in name:
            assert grad[1].any() and not grad[0].any(), name
        else:
            assert grad.any(), name
