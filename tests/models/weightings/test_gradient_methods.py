"""The methods that solve on the products of task gradients: contract, golden values, guarantees."""

from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting
from torchjd.aggregation import ConFIG as TorchjdConFIG
from torchjd.aggregation import GradVac as TorchjdGradVac

from fulcrum.models.gramians import SketchConfig
from fulcrum.models.weightings.aligned import AlignedConfig
from fulcrum.models.weightings.cagrad import CAGradConfig
from fulcrum.models.weightings.conflict_free import ConFIGConfig
from fulcrum.models.weightings.dualproj import DualProjConfig
from fulcrum.models.weightings.fairgrad import FairGradConfig
from fulcrum.models.weightings.gradients import GradientWeightingConfig
from fulcrum.models.weightings.gradnorm import GradNormConfig, gradnorm
from fulcrum.models.weightings.gradvac import GradVacConfig
from fulcrum.models.weightings.imtl_g import IMTLGConfig
from fulcrum.models.weightings.mgda import MGDAConfig
from fulcrum.models.weightings.nash import NashConfig
from fulcrum.models.weightings.pcgrad import PCGradConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.testing.gradient_weightings import (
    J3,
    GradientContract,
    follow_looks,
    weights_of,
)
from fulcrum.testing.weightings import WeightingContract

J2 = torch.tensor([[-4, 1, 1], [6, 1, 1]], dtype=torch.float64)
LENGTHS = torch.diag(torch.tensor([1, 2, 3, 4], dtype=torch.float64))
"""Orthogonal rows with norms 1 to 4."""


@st.composite
def jacobians(draw: st.DrawFn, decades: float = 3.0, full_rank: bool = False) -> Tensor:
    """2 to 8 gradients whose norms spread over so many decades."""
    tasks, seed = draw(st.integers(2, 8)), draw(st.integers(0, 2**31))
    size = tasks + draw(st.integers(2, 20)) if full_rank else draw(st.integers(2, 20))
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, size, generator=random, dtype=torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return rows * 10 ** (decades * torch.rand(tasks, 1, generator=random, dtype=torch.float64))


class TestUPGrad(GradientContract):
    def method(self, **more: Any) -> UPGradConfig:
        return UPGradConfig(**more)


class TestUPGradOfUnitRows(GradientContract):
    def method(self, **more: Any) -> UPGradConfig:
        return UPGradConfig(unit_rows=True, **more)


class TestDualProj(GradientContract):
    def method(self, **more: Any) -> DualProjConfig:
        return DualProjConfig(**more)


class TestMGDA(GradientContract):
    def method(self, **more: Any) -> MGDAConfig:
        return MGDAConfig(**more)


class TestCAGrad(GradientContract):
    def method(self, **more: Any) -> CAGradConfig:
        return CAGradConfig(**more)


class TestPCGrad(GradientContract):
    equivariant: ClassVar[bool] = False
    drawn: ClassVar[bool] = True

    def method(self, **more: Any) -> PCGradConfig:
        return PCGradConfig(**more)


class TestGradVac(GradientContract):
    equivariant: ClassVar[bool] = False
    drawn: ClassVar[bool] = True
    per_task: ClassVar[tuple[str, ...]] = ("latest", "usual")

    def method(self, **more: Any) -> GradVacConfig:
        return GradVacConfig(**more)


class TestIMTLG(GradientContract):
    def method(self, **more: Any) -> IMTLGConfig:
        return IMTLGConfig(**more)


class TestNash(GradientContract):
    def method(self, **more: Any) -> NashConfig:
        return NashConfig(**more)


class TestFairGrad(GradientContract):
    def method(self, **more: Any) -> FairGradConfig:
        return FairGradConfig(**more)


class TestAligned(GradientContract):
    def method(self, **more: Any) -> AlignedConfig:
        return AlignedConfig(**more)


class TestConFIG(GradientContract):
    def method(self, **more: Any) -> ConFIGConfig:
        return ConFIGConfig(**more)


class TestGradNorm(GradientContract):
    without_absent: ClassVar[bool] = False
    per_task: ClassVar[tuple[str, ...]] = ("s",)

    check_scale = WeightingContract.check_scale

    def method(self, **more: Any) -> GradNormConfig:
        return GradNormConfig(**{"window": 1, **more})


def shares(config: GradientWeightingConfig, jacobian: Tensor) -> list[float]:
    """Weights that sum to 1."""
    weights = weights_of(config, jacobian)
    return (weights / weights.sum()).tolist()


def of(*weights: float) -> Any:
    """Golden weights, as shares of their sum; they were told with four decimals."""
    return pytest.approx([w / sum(weights) for w in weights], abs=2e-4)


GOLDEN = {
    UPGradConfig(): ((10 / 9, 15 / 19), (0.4130, 0.6667, 0.4348)),
    DualProjConfig(): ((0.6111, 0.5), (1, 1, 1)),
    MGDAConfig(): ((0.6, 0.4), (0.1867, 0.4733, 0.3400)),
    CAGradConfig(c=0.5): ((0.7041, 0.5000), (0.3333, 0.6306, 0.3925)),
    AlignedConfig(): ((0.5591, 0.4083), (0.2174, 0.3818, 0.3013)),
    IMTLGConfig(): ((0.5923, 0.4077), (0.2271, 0.4676, 0.3053)),
    NashConfig(): ((0.5915, 0.4071), (0.3761, 0.7138, 0.5198)),
    FairGradConfig(alpha=1): ((0.5915, 0.4071), (0.3761, 0.7138, 0.5198)),
}
"""Weights on J2 and J3."""


@pytest.mark.parametrize("config", GOLDEN, ids=lambda c: c.method)
def test_golden_weights(config: GradientWeightingConfig) -> None:
    two, three = GOLDEN[config]
    assert shares(config, J2) == of(*two)
    assert shares(config, J3) == of(*three)


@pytest.mark.parametrize("method", [PCGradConfig, GradVacConfig])
def test_of_two_tasks_pcgrad_is_upgrad_and_gradvac_begins_as_pcgrad(method: Any) -> None:
    assert weights_of(method(normalise=False), J2).tolist() == pytest.approx([10 / 9, 15 / 19])


ORTHOGONAL = {
    MGDAConfig(): (0.702, 0.176, 0.078, 0.044),
    AlignedConfig(): (0.25, 0.125, 0.0833, 0.0625),
    IMTLGConfig(): (0.48, 0.24, 0.16, 0.12),
    NashConfig(): (1, 1 / 2, 1 / 3, 1 / 4),
    CAGradConfig(c=0.5): (0.93, 0.25, 0.25, 0.25),
    PCGradConfig(): (1, 1, 1, 1),
    GradVacConfig(): (1, 1, 1, 1),
    UPGradConfig(): (1, 1, 1, 1),
    DualProjConfig(): (1, 1, 1, 1),
}


@pytest.mark.parametrize("config", ORTHOGONAL, ids=lambda c: c.method)
def test_golden_weights_of_orthogonal_gradients(config: GradientWeightingConfig) -> None:
    expected = ORTHOGONAL[config]
    total = sum(expected)
    assert shares(config, LENGTHS) == pytest.approx([w / total for w in expected], abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(jacobian=jacobians(decades=1))
def test_without_conflict_projections_are_the_mean(jacobian: Tensor) -> None:
    agreeing = jacobian.abs()
    for config in (UPGradConfig(), DualProjConfig(), PCGradConfig()):
        assert shares(config, agreeing) == pytest.approx(
            [1 / len(agreeing)] * len(agreeing), abs=1e-5
        )


def test_opposite_gradients_of_one_length_leave_no_update() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    for config in (MGDAConfig(), UPGradConfig()):
        assert (weights_of(config, opposite) @ opposite).norm() < 1e-6


def test_mgda_does_not_care_for_a_task_told_twice() -> None:
    twice = torch.cat([J3, J3[:1]])
    once, again = (weights_of(MGDAConfig(), j) for j in (J3, twice))
    a, b = once @ J3, again @ twice
    torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(jacobian=jacobians(decades=1, full_rank=True))
def test_nash_solves_its_equation_and_ignores_the_scale_of_a_loss(jacobian: Tensor) -> None:
    config = NashConfig(normalise=False)
    weights = weights_of(config, jacobian)
    products = jacobian @ jacobian.T
    scaled = products * (len(products) / products.trace())
    assert (weights * (scaled @ weights)).tolist() == pytest.approx([1.0] * len(weights), abs=1e-4)
    louder = jacobian.clone()
    louder[0] *= 7
    a, b = weights @ jacobian, weights_of(config, louder) @ louder
    torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(jacobian=jacobians(decades=1, full_rank=True))
def test_imtl_g_has_equal_projections(jacobian: Tensor) -> None:
    update = weights_of(IMTLGConfig(normalise=False), jacobian) @ jacobian
    along = jacobian @ update / jacobian.norm(dim=1)
    assert along.tolist() == pytest.approx([float(along[0])] * len(along), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(jacobian=jacobians(decades=1, full_rank=True))
def test_config_is_the_library_s_from_products_alone(jacobian: Tensor) -> None:
    weights = weights_of(ConFIGConfig(), jacobian)
    torch.testing.assert_close(weights @ jacobian, TorchjdConFIG()(jacobian), rtol=1e-5, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(jacobian=jacobians(decades=1, full_rank=True))
def test_aligned_is_the_library_s(jacobian: Tensor) -> None:
    for scale in ("min", "median", "rmse"):
        weights = weights_of(AlignedConfig(scale=scale, normalise=False), jacobian)
        expected = AlignedMTLWeighting(scale_mode=scale)(jacobian @ jacobian.T)  # type: ignore[arg-type]
        torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-9)


def test_golden_update_of_config() -> None:
    for jacobian, expected in ((J2, (0.1588, 2.0706, 2.0706)), (J3, (0.6670, 1.9653, 2.6145))):
        update = weights_of(ConFIGConfig(), jacobian) @ jacobian
        assert update.tolist() == pytest.approx(expected, abs=1e-4)


def test_gradvac_is_the_library_s_of_two_tasks() -> None:
    """Two tasks have one order; a second look has usual cosines other than 0."""
    library = TorchjdGradVac(beta=0.5)
    looks = [J2, J3[:2], J2]
    config = GradVacConfig(beta=0.5, normalise=False, gramian=SketchConfig(every=1))
    for jacobian, weights in zip(looks, follow_looks(config, looks), strict=True):
        expected = library(jacobian)
        torch.testing.assert_close(2 * (weights @ jacobian), expected, rtol=1e-6, atol=1e-8)


def test_golden_objective_of_gradnorm() -> None:
    """s = 0, norms (3, 1), L / L(0) = (.5, 1): mean 2, rates (2/3, 4/3)."""
    s = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    norms, ratios = torch.tensor([3.0, 1.0]).double(), torch.tensor([0.5, 1.0]).double()
    objective = gradnorm(2 * s.softmax(0), norms, ratios, alpha=1.5)
    targets = [2 * (2 / 3) ** 1.5, 2 * (4 / 3) ** 1.5]
    assert targets == pytest.approx([1.08866, 3.07920], abs=1e-5)
    assert objective.item() == pytest.approx((3 - targets[0]) + (targets[1] - 1))
    (gradient,) = torch.autograd.grad(objective, s)
    assert gradient.tolist() == pytest.approx([2, -2])


def test_gradnorm_of_like_rates_makes_weighted_gradients_equally_long() -> None:
    config = GradNormConfig(window=1, gramian=SketchConfig(every=1))
    weights = follow_looks(config, [LENGTHS] * 400)[-1]
    inverse = [1 / n for n in (1, 2, 3, 4)]
    expected = [4 * w / sum(inverse) for w in inverse]
    assert weights.tolist() == pytest.approx(expected, abs=0.1)


def test_aligned_gradients_are_a_system_of_condition_one() -> None:
    """B G B = l_min I for B = sqrt(l_min) V diag(l)^(-1/2) V^T, of which w is a mean of columns."""
    products = J3 @ J3.T
    values, vectors = torch.linalg.eigh(products)
    b = values.min().sqrt() * (vectors / values.sqrt()) @ vectors.T
    torch.testing.assert_close(b @ products @ b, values.min() * torch.eye(3, dtype=torch.float64))
    expected = b.mean(1)
    assert shares(AlignedConfig(), J3) == pytest.approx(
        (expected / expected.sum()).tolist(), abs=1e-6
    )
