"""What every weighting promises, and the static one's arithmetic."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.weightings import WEIGHTINGS, StaticConfig

TASKS = ("click", "buy", "like")


def no_gramian() -> Tensor:
    raise AssertionError("a weighting that looks at losses alone asked for gradients")


@pytest.mark.parametrize("method", WEIGHTINGS)
def test_weights_are_detached_finite_and_sum_to_the_number_of_tasks(method: str) -> None:
    weighting = WEIGHTINGS[method]().build(TASKS)
    weights = weighting(torch.rand(len(TASKS)), lambda: torch.eye(len(TASKS)))
    assert weights.shape == (len(TASKS),) and weights.dtype == torch.float32
    assert weights.isfinite().all() and not weights.requires_grad
    assert weights.sum().item() == pytest.approx(len(TASKS), rel=1e-6)


def test_static_weights_are_equal_unless_stated() -> None:
    assert StaticConfig().build(TASKS)(torch.rand(3), no_gramian).tolist() == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(TASKS), st.floats(1e-3, 1e3)))
def test_static_weights_keep_their_ratios(stated: dict[str, float]) -> None:
    weights = StaticConfig(weights=stated).build(TASKS)(torch.rand(3), no_gramian).tolist()
    total = sum(stated.get(task, 1.0) for task in TASKS)
    assert weights == pytest.approx([3 * stated.get(t, 1.0) / total for t in TASKS], rel=1e-5)
