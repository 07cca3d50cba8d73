"""What every weighting promises that looks at the products of task gradients."""

import time
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fulcrum.models.gramians import SketchConfig
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings import Setting
from fulcrum.models.weightings.gradients import GradientWeightingConfig, apart, freedom
from fulcrum.testing.layouts import binary_tasks
from fulcrum.testing.weightings import COURSE, WeightingContract

J3 = torch.tensor([[3, 0, 1], [-1, 2, 0], [0, -1, 2]], dtype=torch.float64)


LENGTHS = torch.logspace(-6, 6, 10, dtype=torch.float64)[:, None]
SECONDS = 0.05
"""Of processor time that a look at ten tasks may take."""


def degenerate(kind: str) -> Tensor:
    """Gradients of ten tasks of very different lengths."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(10, 12, generator=random, dtype=torch.float64)
    rows /= rows.norm(dim=1, keepdim=True)
    match kind:
        case "equal":
            rows[:] = rows[0]
        case "opposed":
            rows[5:] = -rows[:5]
        case "a pair opposed":
            rows[1] = -rows[0]
        case "some missing":
            rows[::3] = 0
        case "more tasks than dimensions":
            rows[:, 4:] = 0
    return LENGTHS * rows


def pair_at(cosine: float) -> Tensor:
    """Six gradients of length 1, at right angles but for the first two."""
    rows = torch.eye(6, dtype=torch.float64)
    rows[1, :2] = torch.tensor([cosine, (1 - cosine**2) ** 0.5], dtype=torch.float64)
    return rows


def weights_of(config: GradientWeightingConfig, jacobian: Tensor) -> Tensor:
    """What a fresh weighting gives for task gradients `(T, P)`, float64, nothing clipped."""
    return follow_looks(config, [jacobian])[0]


def follow_looks(config: GradientWeightingConfig, looks: list[Tensor]) -> list[Tensor]:
    """Weights at steps of which each has its own task gradients."""
    setting = Setting(binary_tasks(len(looks[0])), epoch=1, steps=len(looks))
    weighting = config.build(setting)
    seen = []
    for jacobian in looks:
        seen.append(weighting.weigh(step_of(jacobian)).clone())
        weighting.steps += 1
    return seen


def step_of(jacobian: Tensor) -> Step:
    """A step with these task gradients, all losses being 1."""
    ones = torch.ones(len(jacobian))
    return Step(ones, ones > 0, lambda: jacobian @ jacobian.T, no_rows)


def no_rows() -> Rows:
    raise AssertionError("asked for rows")


class GradientContract(WeightingContract):
    """Beside the common promises: scale, orthogonality, zero rows."""

    alone: ClassVar[bool] = False
    without_absent: ClassVar[bool] = True
    per_task: ClassVar[tuple[str, ...]] = ("latest",)
    rtol: ClassVar[float] = 1e-3

    def method(self, **more: Any) -> GradientWeightingConfig:
        raise NotImplementedError

    def config(self) -> GradientWeightingConfig:
        return self.method(gramian=SketchConfig(every=1))

    def check_scale(self, weights: Tensor) -> None:
        """The mean is 1 where tasks count by how free of conflict they are."""
        for number, row in enumerate(weights.double()):
            free = freedom(apart(COURSE.step(number).gramian)[0])
            self.equal(free @ row, free.sum())

    @pytest.mark.parametrize("cosine", [-0.5, -0.9, -0.99])
    def test_a_task_in_no_conflict_keeps_its_weight(self, cosine: float) -> None:
        """Whatever happens between two others: a plain sum of 6 would leave it 0.03 with some."""
        if not self.config().normalise:
            pytest.skip("the scale is the method's own")
        weights = weights_of(self.config(), pair_at(cosine))
        assert (weights[2:] > 0.5).all() and (weights[2:] < 1.5).all()

    @pytest.mark.parametrize(
        "kind",
        ["equal", "opposed", "a pair opposed", "some missing", "more tasks than dimensions"],
    )
    def test_equal_opposed_and_missing_gradients_are_weighed_in_no_time(self, kind: str) -> None:
        weighting = self.config().build(Setting(binary_tasks(10), epoch=1, steps=20))
        step, seconds = step_of(degenerate(kind)), []
        weighting(step)
        for _ in range(3):
            began = time.process_time()
            weights = weighting(step)
            seconds.append(time.process_time() - began)
        assert weights.isfinite().all() and weights.any()
        assert (weights >= 0).all()
        assert not self.config().normalise or (weights <= 100 * 10).all()
        assert min(seconds) < SECONDS

    @pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
    def test_the_scale_of_all_gradients_is_of_no_matter(self, scale: float) -> None:
        """With gradients as small as those of tables, solvers' absolute thresholds would bite."""
        random = torch.Generator().manual_seed(0)
        for tasks in (2, 3, 5):
            jacobian = torch.randn(tasks, 9, generator=random, dtype=torch.float64)
            plain, scaled = (weights_of(self.config(), j) for j in (jacobian, scale * jacobian))
            torch.testing.assert_close(scaled, plain, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("tasks", [2, 3, 5])
    def test_orthogonal_gradients_of_one_length_give_the_mean(self, tasks: int) -> None:
        seen = weights_of(self.config(), torch.eye(tasks, dtype=torch.float64))
        torch.testing.assert_close(seen / seen.sum(), torch.full_like(seen, 1 / tasks))

    def test_a_gradient_of_zero_has_no_say(self) -> None:
        """Solvers answer a zero row with all weight, none, or hundreds."""
        padded = torch.cat([J3, torch.zeros(1, 3, dtype=torch.float64)])
        seen, expected = weights_of(self.config(), padded)[:3], weights_of(self.config(), J3)
        torch.testing.assert_close(
            seen / seen.sum(), expected / expected.sum(), rtol=1e-4, atol=1e-5
        )

    def test_looks_every_so_many_steps(self) -> None:
        weighting = self.method(gramian=SketchConfig(every=3)).build(
            Setting(binary_tasks(3), 1, 20)
        )
        asked: list[int] = []

        def look(number: int) -> Tensor:
            asked.append(number)
            return J3 @ J3.T

        for number in range(7):
            weighting(Step(torch.ones(3), torch.ones(3) > 0, partial(look, number), no_rows))
        assert asked in ([0, 3, 6], [3, 6])  # one that first watches losses begins later

    def test_smoothing_keeps_a_share_of_the_weights_before(self) -> None:
        still, moving = (
            self.method(gramian=SketchConfig(every=1), smooth=smooth).build(
                Setting(binary_tasks(3), 1, 20)
            )
            for smooth in (0.0, 0.75)
        )
        for jacobian in (J3, J3, J3.flip(0)):
            before = moving.latest.clone()
            step = step_of(jacobian)
            still.weigh(step), moving.weigh(step)
            still.steps += 1
            moving.steps += 1
        torch.testing.assert_close(moving.latest, 0.75 * before + 0.25 * still.latest)
