"""Entire-space chains: products of probabilities, from logits of any size."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from features.errors import ConfigError
from features.layout import TaskSpec
from models.objectives.binary import Binary
from models.objectives.chain import joint_logits, parents

logit = st.floats(-8, 8, width=32)


def chained(*given_: str | None) -> list[TaskSpec]:
    """Tasks a, b, c ... with the given `given`."""
    return [
        TaskSpec(name=name, kind="binary", given=g)
        for name, g in zip("abcdef", given_, strict=False)
    ]


@settings(max_examples=50, deadline=None)
@given(st.tuples(logit, logit, logit, logit))
def test_probabilities_are_products(values: tuple[float, ...]) -> None:
    """d -> c -> a, b stands alone; c comes before its parent's position in no order we rely on."""
    up = parents(chained("c", None, "d", None))
    logits = torch.tensor([values], dtype=torch.float64)
    p = [1 / (1 + math.exp(-v)) for v in values]
    joint = joint_logits(logits, up).sigmoid()[0].tolist()
    assert joint == pytest.approx([p[0] * p[2] * p[3], p[1], p[2] * p[3], p[3]], rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(logit, st.sampled_from([0.0, 1.0]))
def test_a_certain_parent_changes_nothing(value: float, label: float) -> None:
    logits = torch.tensor([[100.0, value]], requires_grad=True)
    joint = joint_logits(logits, [None, 0])
    assert joint[0, 1].item() == pytest.approx(value, abs=1e-5)

    target = torch.tensor(label)
    F.binary_cross_entropy_with_logits(joint[0, 1], target).backward()
    alone = torch.tensor(value, requires_grad=True)
    F.binary_cross_entropy_with_logits(alone, target).backward()
    assert logits.grad is not None and alone.grad is not None
    assert logits.grad[0, 1].item() == pytest.approx(alone.grad.item(), abs=1e-6)


@pytest.mark.parametrize("first", [-100.0, -40.0, 0.0, 40.0, 100.0])
@pytest.mark.parametrize("second", [-100.0, -40.0, 0.0, 40.0, 100.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_extreme_logits_stay_finite(first: float, second: float, label: float) -> None:
    logits = torch.tensor([[[first], [second], [first]]], requires_grad=True)
    objective = Binary(chained(None, "a", "b"))
    loss = objective.loss(logits, torch.full((1, 3), label))
    loss.sum().backward()
    assert logits.grad is not None
    assert loss.isfinite().all() and logits.grad.isfinite().all()
    wrong = loss[0, 1].item()
    if label == 1:  # -log(sigmoid(x)) = log(1 + exp(-x))
        expected = math.log1p(math.exp(-first)) + math.log1p(math.exp(-second))
    else:  # 1 - p1 p2 = (1 - p1) + p1 (1 - p2)
        p1, q1, q2 = (1 / (1 + math.exp(-v)) for v in (first, -first, -second))
        expected = -math.log(q1 + p1 * q2)
    assert wrong == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_rows_where_the_parent_is_false_still_teach_the_child() -> None:
    logits = torch.zeros(1, 2, 1, requires_grad=True)
    Binary(chained(None, "a")).loss(logits, torch.zeros(1, 2))[:, 1].sum().backward()
    assert logits.grad is not None and (logits.grad > 0).all()


def test_a_circle_is_refused() -> None:
    with pytest.raises(ConfigError, match="circle"):
        parents(chained("b", "c", "a"))
    with pytest.raises(ConfigError, match="circle"):
        parents(chained("a"))


def test_an_unknown_parent_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.b\.given.*'z'.*a, b"):
        parents(chained(None, "z"))
