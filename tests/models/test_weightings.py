"""What every weighting promises, and the static one's arithmetic."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.layout import TaskSpec
from models.step import Rows, Step
from models.weightings import WEIGHTINGS, Setting, StaticConfig

TASKS = tuple(TaskSpec(name=name, kind="binary", rate=0.5) for name in ("click", "buy", "like"))


def no_gramian() -> Tensor:
    raise AssertionError("a weighting that looks at losses alone asked for gradients")


def no_rows() -> Rows:
    raise AssertionError("asked for rows")


def losses_only(losses: Tensor) -> Step:
    return Step(losses, torch.ones(len(losses)) > 0, no_gramian, no_rows)


@pytest.mark.parametrize("method", WEIGHTINGS)
def test_weights_are_detached_finite_and_sum_to_the_number_of_tasks(method: str) -> None:
    weighting = WEIGHTINGS[method]().build(Setting(TASKS))
    step = Step(torch.rand(3), torch.ones(3) > 0, lambda: torch.eye(3).double(), no_rows)
    weights = weighting(step)
    assert weights.shape == (len(TASKS),) and weights.dtype == torch.float32
    assert weights.isfinite().all() and not weights.requires_grad
    if weighting.config.normalise:
        assert weights.sum().item() == pytest.approx(len(TASKS), rel=1e-6)


def test_static_weights_are_equal_unless_stated() -> None:
    weighting = StaticConfig().build(Setting(TASKS))
    assert weighting(losses_only(torch.rand(3))).tolist() == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from([t.name for t in TASKS]), st.floats(1e-3, 1e3)))
def test_static_weights_keep_their_ratios(stated: dict[str, float]) -> None:
    weighting = StaticConfig(weights=stated).build(Setting(TASKS))
    weights = weighting(losses_only(torch.rand(3))).tolist()
    total = sum(stated.get(task.name, 1.0) for task in TASKS)
    assert weights == pytest.approx([3 * stated.get(t.name, 1.0) / total for t in TASKS], rel=1e-5)
