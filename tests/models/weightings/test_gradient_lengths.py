"""What a method says of its update holds for up to thirty tasks whose gradients differ in length by
twelve powers of ten, too."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from torch import Tensor

from fulcrum.models.weightings.cagrad import CAGradConfig
from fulcrum.models.weightings.conflict_free import ConFIGConfig
from fulcrum.models.weightings.dualproj import DualProjConfig
from fulcrum.models.weightings.fairgrad import FairGradConfig
from fulcrum.models.weightings.gradients import GradientWeightingConfig
from fulcrum.models.weightings.imtl_g import IMTLGConfig
from fulcrum.models.weightings.mgda import MGDAConfig
from fulcrum.models.weightings.nash import NashConfig
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.testing.gradient_weightings import weights_of

SAFE = [
    UPGradConfig(),
    UPGradConfig(unit_rows=True),
    DualProjConfig(),
    MGDAConfig(),
    NashConfig(),
    FairGradConfig(),
    ConFIGConfig(),
]
WHATEVER_LENGTHS = [
    UPGradConfig(unit_rows=True),
    MGDAConfig(unit_rows=True),
    NashConfig(),
    IMTLGConfig(),
    ConFIGConfig(),
]
"""Methods whose update has one direction whatever the lengths are."""


@st.composite
def gradients(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Independent directions `(T, P)` of 2 to 30 tasks, and lengths `(T, 1)` from 1e-6 to 1e6."""
    tasks, more, seed = draw(st.integers(2, 30)), draw(st.integers(2, 20)), draw(st.integers(0))
    random = torch.Generator().manual_seed(seed % 2**63)
    rows = torch.randn(tasks, tasks + more, generator=random, dtype=torch.float64)
    lengths = 10 ** (12 * torch.rand(tasks, 1, generator=random, dtype=torch.float64) - 6)
    return rows / rows.norm(dim=1, keepdim=True), lengths


def named(config: GradientWeightingConfig) -> str:
    return f"{config.method}-{getattr(config, 'unit_rows', '')}"


def shares(config: GradientWeightingConfig, units: Tensor, lengths: Tensor) -> Tensor:
    """`(T,)` lengths of the tasks in the update, which is 1 long."""
    shares = weights_of(config, lengths * units) * lengths[:, 0]
    return shares / (shares @ units).norm()


few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("config", SAFE, ids=named)
@few
@given(drawn=gradients())
def test_no_task_is_hurt(config: GradientWeightingConfig, drawn: tuple[Tensor, Tensor]) -> None:
    units, lengths = drawn
    assert (units @ (shares(config, units, lengths) @ units)).min() >= -1e-6


@pytest.mark.parametrize("config", WHATEVER_LENGTHS, ids=named)
@few
@given(drawn=gradients())
def test_lengths_are_of_no_matter(
    config: GradientWeightingConfig, drawn: tuple[Tensor, Tensor]
) -> None:
    units, lengths = drawn
    expected = shares(config, units, torch.ones_like(lengths))
    torch.testing.assert_close(shares(config, units, lengths), expected, rtol=1e-5, atol=1e-6)


@few
@given(drawn=gradients())
def test_nash_solves_its_equation(drawn: tuple[Tensor, Tensor]) -> None:
    """v * C v = 1 for the lengths v in the update, whose own length is then sqrt(T)."""
    units, lengths = drawn
    v = shares(NashConfig(), units, lengths) * len(units) ** 0.5
    assert (v * (units @ (v @ units))).tolist() == pytest.approx([1.0] * len(v), abs=1e-6)


@few
@given(drawn=gradients())
def test_fairgrad_solves_its_equation(drawn: tuple[Tensor, Tensor]) -> None:
    """G w = w^(-1/2) up to the unit of w: what each task gains times the root of its weight."""
    units, lengths = drawn
    v = shares(FairGradConfig(alpha=2), units, lengths)
    fair = (units @ (v @ units)) * (lengths * v[:, None].sqrt() / lengths.sqrt())[:, 0]
    assert (fair / fair.mean()).tolist() == pytest.approx([1.0] * len(v), abs=1e-4)


@few
@given(drawn=gradients())
def test_upgrad_is_the_mean_of_projections(drawn: tuple[Tensor, Tensor]) -> None:
    """Each found by non-negative least squares: u + U^T m is nearest to u of all that hurt no task
    where m >= 0 brings -u nearest to the cone of the tasks' gradients."""
    units, lengths = drawn
    update = torch.zeros(units.shape[1], dtype=torch.float64)
    for unit, length in zip(units, lengths[:, 0], strict=True):
        multipliers = torch.from_numpy(nnls(units.T.numpy(), -unit.numpy())[0])
        update += length * (unit + multipliers @ units)
    seen = shares(UPGradConfig(), units, lengths) @ units
    torch.testing.assert_close(seen, update / update.norm(), rtol=0, atol=1e-6)


@few
@given(drawn=gradients())
def test_mgda_is_the_shortest_of_the_hull(drawn: tuple[Tensor, Tensor]) -> None:
    """No corner of the hull lies nearer to the origin along the update than the update itself; seen
    at the length of each corner."""
    units, lengths = drawn
    seen = shares(MGDAConfig(), units, lengths)
    shortest = 1 / (seen / lengths[:, 0]).sum()
    assert (units @ (seen @ units) >= shortest / lengths[:, 0] - 1e-6).all()


@few
@given(drawn=gradients())
def test_cagrad_is_the_best_for_the_worst_task(drawn: tuple[Tensor, Tensor]) -> None:
    """Whatever the mixture w of the tasks, the worst one cannot gain more than <g_w, g_0> +
    r ||g_w||. With the mixture in the update it gains that, as seen at the length of each. Lengths
    are over nine powers of ten: at twelve, one problem in some thousand is solved to a few per
    cent."""
    units, lengths = drawn[0], drawn[1] ** 0.75
    jacobian = lengths * units
    weights = weights_of(CAGradConfig(c=0.5, normalise=False), jacobian)
    update, mean = weights @ jacobian, jacobian.mean(0)
    mixture = (weights - 1 / len(weights)).clamp(min=0)
    mixed = mixture @ jacobian / mixture.sum()
    bound = mixed @ mean + 0.5 * mean.norm() * mixed.norm()
    assert (units @ update - bound / lengths[:, 0]).min() >= -1e-4 * update.norm()
