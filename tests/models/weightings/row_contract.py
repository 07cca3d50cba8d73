"""What weightings promise that learn from sessions and give every row a weight of its own."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from fulcrum.features.layout import TaskSpec
from fulcrum.models.weightings import Declared, StaticConfig, Weighting, WeightingConfig
from fulcrum.models.weightings.rmtl import RMTL
from fulcrum.testing.course import EPOCH, Course, follow
from fulcrum.testing.layouts import binary_tasks, make_layout, random_batch
from fulcrum.testing.networks import make_network
from fulcrum.testing.weightings import COURSE, WeightingContract
from tests.models.debug import debug_model


def listen(weighting: Weighting, course: Course = COURSE) -> Weighting:
    """The weighting after all its lessons from the sessions of a course."""
    for lesson in range(weighting.lessons(EPOCH)):
        weighting.learn(course.rows(lesson))
    weighting.taught()
    return weighting


def plain_gradients(config: WeightingConfig, flat: bool = False) -> dict[str, Tensor]:
    """Those of a small network in one step, by parameter; `flat` makes all critics constant."""
    layout = make_layout(binary_tasks(3))
    batch = random_batch(layout, 16)
    torch.manual_seed(0)
    network = make_network(layout, debug_model("mmoe"), config)
    weighting = network.objective.weighting
    assert weighting is not None
    for _ in range(weighting.lessons(1)):
        with torch.no_grad():
            weighting.learn(network.objective.rows(*network.inputs(batch)))
    weighting.taught()
    if flat:
        assert isinstance(weighting, RMTL)
        torch.nn.init.zeros_(weighting.td.critics.last.weight)
    network(batch)[0].backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


class RowContract(WeightingContract):
    """Weights are normalised over rows and not over tasks; the weighting has had its lessons."""

    masks: ClassVar[bool] = False

    def make(self, course: Course = COURSE) -> Weighting:
        return listen(super().make(course), course)

    def test_a_task_that_is_absent_does_not_disturb_the_others(self) -> None:
        others = [0, 2]
        here, there = self.make(), self.make()
        seen, plain = here(COURSE.without(1).step(10)), there(COURSE.step(10))
        self.equal(seen[:, others], plain[:, others])

    def test_a_single_task_is_trained_plainly_or_refused(self) -> None:
        """Its rows have a mean of 1."""
        course = Course(tasks=(0,))
        weights = follow(self.make(course), course, range(3))
        self.equal(weights.mean(1), torch.ones(3, 1))

    def test_the_seed_decides(self) -> None:
        """Weights draw nothing; the critics' own seed is part of their tests."""
        first, second = (follow(self.make(), COURSE, range(3)) for _ in range(2))
        assert torch.equal(first, second)

    def test_before_any_lesson_all_weights_are_1(self) -> None:
        weights = follow(self.config().build(COURSE.setting()), COURSE, range(3))
        assert torch.equal(weights, torch.ones_like(weights))

    def test_rows_differ_after_the_lessons(self) -> None:
        weights = self.make()(COURSE.step(0))
        assert (weights.std(0) > 1e-3).all()

    def test_weights_are_at_least_one_before_and_have_mean_one_after(self) -> None:
        config = self.config()
        raw = listen(config.model_copy(update={"normalise": False}).build(COURSE.setting()))
        scaled = self.make()
        before, after = raw(COURSE.step(0)), scaled(COURSE.step(0))
        assert before.isfinite().all() and (before >= 1).all()
        self.equal(after.mean(0), torch.ones(3))
        told = torch.tensor([scaled.facts()[f"raw_mean/t{t}"] for t in range(3)])
        self.equal(told, before.mean(0))

    def test_the_mean_counts_observed_rows_by_their_sample_weight(self) -> None:
        rows = COURSE.rows(0)
        seen = torch.rand(rows.observed.shape) < 0.6
        uneven = replace(rows, observed=seen, weight=torch.linspace(0.5, 2, len(rows.weight)))
        step = COURSE.step(0)
        step.rows = uneven
        counted = seen * uneven.weight[:, None]
        weights = self.make()(step)
        self.equal((weights * counted).sum(0) / counted.sum(0), torch.ones(3))

    def test_lessons_stopped_and_resumed_are_the_same_bit_for_bit(self) -> None:
        made = [self.config().build(COURSE.setting()) for _ in range(3)]
        straight, stopped, resumed = made
        places = {name: value.data_ptr() for name, value in straight.state_dict().items()}
        for lesson in range(4):
            straight.learn(COURSE.rows(lesson))
        for lesson in range(2):
            stopped.learn(COURSE.rows(lesson))
        resumed.load_state_dict(stopped.state_dict())
        for lesson in range(2, 4):
            resumed.learn(COURSE.rows(lesson))
        for name, value in straight.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name
            assert value.data_ptr() == places[name], f"{name} is not filled in place"

    def test_labels_that_are_not_observed_teach_nothing(self) -> None:
        rows = COURSE.rows(0)
        seen = torch.rand(rows.observed.shape) < 0.5
        flipped = torch.where(seen, rows.labels, 1 - rows.labels)
        one, other = (self.config().build(COURSE.setting()) for _ in range(2))
        one.learn(replace(rows, observed=seen))
        other.learn(replace(rows, observed=seen, labels=flipped))
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name

    def test_a_task_that_is_not_binary_has_weight_1(self) -> None:
        tasks = list(COURSE.setting().tasks)
        tasks[1] = TaskSpec(name="t1", kind="regression")
        weighting = listen(self.config().build(replace(COURSE.setting(), tasks=tuple(tasks))))
        weights = weighting(COURSE.step(0))
        assert (weights[:, 1] == 1).all() and (weights[:, [0, 2]].std(0) > 1e-3).all()

    def test_a_run_without_a_binary_task_or_without_sessions_is_refused(self) -> None:
        config = self.config()
        said = [
            list(config.problems(Declared({"t": kind}, sessions=sessions)))
            for kind, sessions in (("binary", True), ("regression", True), ("binary", False))
        ]
        assert [len(each) for each in said] == [0, 1, 1]
        assert "binary" in said[1][0][1] and "session" in said[2][0][1]

    def test_no_strength_is_plain_training_bit_for_bit(self) -> None:
        plain = plain_gradients(StaticConfig())
        weighed = plain_gradients(self.config().model_copy(update={"strength": 0.0}))
        strong = plain_gradients(self.config())
        assert plain.keys() == weighed.keys()
        assert all(torch.equal(plain[name], weighed[name]) for name in plain)
        assert not all(torch.equal(plain[name], strong[name]) for name in plain)
