"""What every weighting promises. A method's own test file inherits this and names its config."""

from typing import ClassVar

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from fulcrum.models.weightings import (
    WEIGHTINGS,
    Declared,
    Weighting,
    WeightingChoice,
    WeightingConfig,
)
from fulcrum.testing.course import Course, follow

COURSE = Course()
ODD = Course(tasks=(0, 1, 2, 3, 4, 5, 6))
"""Tasks in a number that no other size of a weighting has."""


class WeightingContract:
    """Tests that hold for every method; flags say in which form."""

    equivariant: ClassVar[bool] = True
    """Whether weights go with their tasks when tasks change places; not where they are drawn."""
    drawn: ClassVar[bool] = False
    """Whether weights depend on the seed."""
    alone: ClassVar[bool] = True
    """Whether a single task may be trained; else the method refuses it."""
    without_absent: ClassVar[bool] = False
    """How the others are weighed in a step that one task is absent from: as if there were no such
    task, or else in the ratios that they have beside it."""
    masks: ClassVar[bool] = True
    """Whether an absent task has weight 0; one that is fixed may stay, as a loss of no row has no
    gradient."""
    per_task: ClassVar[tuple[str, ...]] = ()
    """State with a row for each task, which a step without the task leaves alone. The task is there
    for twelve steps, then absent for eight, so windows of four steps end where it goes."""
    rtol: ClassVar[float] = 1e-5
    """Between weights that are equal but for rounding."""

    def config(self) -> WeightingConfig:
        """The method, with windows short enough for a course of twenty steps."""
        raise NotImplementedError

    def make(self, course: Course = COURSE) -> Weighting:
        """The weighting at the start of a course."""
        return self.config().build(course.setting())

    def equal(self, seen: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(seen, expected, rtol=self.rtol, atol=1e-6)

    def test_is_listed(self) -> None:
        config = self.config()
        assert WEIGHTINGS[config.method] is type(config)
        assert config.source and config.summary

    def test_config_round_trips(self) -> None:
        config = self.config()
        adapter = TypeAdapter[WeightingConfig](WeightingChoice)
        assert adapter.validate_json(config.model_dump_json()) == config

    def test_defaults_train(self) -> None:
        weighting = type(self.config())().build(COURSE.setting())  # type: ignore[call-arg]
        assert follow(weighting, COURSE, range(3)).isfinite().all()

    def test_weights_are_finite_detached_and_not_negative(self) -> None:
        weights = follow(self.make(), COURSE, range(20))
        assert weights.dtype == torch.float32 and not weights.requires_grad
        assert weights.isfinite().all() and (weights >= 0).all()
        if weights.ndim == 3:
            return
        assert weights.shape == (20, 3)
        if self.config().normalise:
            self.check_scale(weights)

    def check_scale(self, weights: Tensor) -> None:
        """Of the weights `(steps, tasks)` of a course in which all tasks are observed."""
        self.equal(weights.sum(1), torch.full((len(weights),), 3.0))

    @pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6, 1e6])
    def test_losses_of_any_size_give_finite_weights(self, scale: float) -> None:
        course = Course(scale=scale)
        assert follow(self.make(course), course, range(20)).isfinite().all()

    def test_a_loss_of_0_leaves_the_others_their_weight(self) -> None:
        """It has no gradient, and 1 / 0 would be all of the step."""
        course = Course(scale=0.0)
        weights = follow(self.make(course), course, range(20)).flatten(0, -2)
        assert weights[:, 1:].mean() > 1 / 3

    def test_a_task_that_is_absent_has_weight_0(self) -> None:
        weighting = self.make()
        follow(weighting, COURSE, range(10))
        weights = weighting(COURSE.without(1).step(10))
        assert (weights[..., 1] == 0).all() == self.masks
        assert weights.isfinite().all() and weights.any()

    def test_a_task_that_is_absent_does_not_disturb_the_others(self) -> None:
        others = torch.tensor([0, 2])
        if self.without_absent:
            if self.drawn:
                pytest.skip("draws for two tasks are no part of the draws for three")
            seen = follow(self.make(), COURSE.without(1), range(20))[:, others]
            pair = Course(tasks=(0, 2))
            beside = follow(self.make(pair), pair, range(20))
        else:
            here, there = self.make(), self.make()
            for weighting in (here, there):
                follow(weighting, COURSE, range(10))
            seen = here(COURSE.without(1).step(10))[others]
            beside = there(COURSE.step(10))[others]
        self.equal(seen / seen.sum(-1, True), beside / beside.sum(-1, True))

    def test_a_task_that_is_absent_learns_nothing(self) -> None:
        if not self.per_task:
            pytest.skip("nothing is kept of a task")
        weighting = self.make(ODD)
        follow(weighting, ODD, range(12))
        before = {name: value.clone() for name, value in weighting.state_dict().items()}
        follow(weighting, ODD.without(1), range(12, 20))
        first, after = self.make(ODD).state_dict(), weighting.state_dict()
        for name in self.per_task:
            assert len(after[name]) == len(ODD.tasks)
            assert torch.equal(after[name][1], before[name][1]), name
            assert not torch.equal(after[name], first[name]), f"{name} is no state"

    def test_a_single_task_is_trained_plainly_or_refused(self) -> None:
        problems = list(self.config().problems(Declared({"t0": "binary"}, sessions=True)))
        assert self.alone != bool(problems)
        if problems:
            return
        course = Course(tasks=(0,))
        weights = follow(self.make(course), course, range(20))
        if self.config().normalise:
            assert torch.equal(weights, torch.ones(20, 1))
        assert (weights > 0).all()

    def test_weights_go_with_their_tasks(self) -> None:
        if not self.equivariant:
            pytest.skip("depends on the order of tasks")
        swapped = Course(tasks=(2, 0, 1))
        seen = follow(self.make(swapped), swapped, range(20))
        self.equal(seen, follow(self.make(), COURSE, range(20))[..., [2, 0, 1]])

    def test_the_seed_decides(self) -> None:
        first, second = (follow(self.make(), COURSE, range(20)) for _ in range(2))
        assert torch.equal(first, second)
        other = self.config().build(Course(seed=1).setting())
        assert torch.equal(first, follow(other, COURSE, range(20))) != self.drawn

    def test_stopped_and_resumed_is_the_same_bit_for_bit(self) -> None:
        straight = self.make()
        expected = follow(straight, COURSE, range(20))
        stopped = self.make()
        follow(stopped, COURSE, range(10))
        resumed = self.make()
        resumed.load_state_dict(stopped.state_dict())
        after = follow(resumed, COURSE, range(10, 20))
        assert torch.equal(after, expected[10:]), "is all state in buffers or parameters?"
        for name, value in straight.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name

    def test_all_state_is_there_from_the_start(self) -> None:
        """Checkpoints fill it in place."""
        weighting = self.make()
        before = weighting.state_dict()
        places = {name: (v.shape, v.dtype, v.data_ptr()) for name, v in before.items()}
        follow(weighting, COURSE, range(20))
        after = weighting.state_dict()
        assert places == {name: (v.shape, v.dtype, v.data_ptr()) for name, v in after.items()}
