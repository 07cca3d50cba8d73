"""Static: what is stated, and its ratios."""

from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.models.weightings import Declared, StaticConfig
from fulcrum.testing.course import losses_only
from fulcrum.testing.weightings import COURSE, WeightingContract


class TestContract(WeightingContract):
    masks: ClassVar[bool] = False

    def config(self) -> StaticConfig:
        return StaticConfig(weights={"t0": 3.0})


def test_weights_are_equal_unless_stated() -> None:
    weighting = StaticConfig().build(COURSE.setting())
    assert weighting(losses_only(torch.rand(3))).tolist() == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["t0", "t1", "t2"]), st.floats(1e-3, 1e3)))
def test_weights_keep_their_ratios(stated: dict[str, float]) -> None:
    weighting = StaticConfig(weights=stated).build(COURSE.setting())
    weights = weighting(losses_only(torch.rand(3))).tolist()
    relative = [stated.get(task.name, 1.0) for task in COURSE.setting().tasks]
    assert weights == pytest.approx([3 * r / sum(relative) for r in relative], rel=1e-5)


def test_a_task_that_is_not_there_is_refused() -> None:
    tasks = Declared({"click": "binary", "buy": "binary"})
    [(path, message)] = StaticConfig(weights={"clik": 2.0}).problems(tasks)
    assert path == ("weights", "clik") and "click" in message
    [(path, message)] = StaticConfig(weights={"click": 0.0, "buy": 0.0}).problems(tasks)
    assert path == ("weights",)
