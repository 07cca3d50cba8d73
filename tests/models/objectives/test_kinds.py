"""Losses, scores and starting logits of each kind of task, alone and mixed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.layout import TaskSpec
from fulcrum.models.objectives.binary import RATE_BOUND, Binary
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.models.objectives.multiclass import Multiclass
from fulcrum.models.objectives.regression import Regression
from fulcrum.testing.layouts import TASKS


def test_binary_loss_is_the_negative_log_likelihood() -> None:
    objective = Binary([TaskSpec(name="a", kind="binary")])
    loss = objective.loss(torch.tensor([[[2.0]], [[2.0]]]), torch.tensor([[1.0], [0.0]]))
    p = 1 / (1 + math.exp(-2))
    assert loss.flatten().tolist() == pytest.approx([-math.log(p), -math.log(1 - p)], rel=1e-5)


def test_binary_towers_start_at_the_rate() -> None:
    tasks = [
        TaskSpec(name="click", kind="binary", rate=0.2),
        TaskSpec(name="never", kind="binary", rate=0.0),
        TaskSpec(name="unknown", kind="binary"),
    ]
    objective = Binary(tasks)
    scores = objective.score(objective.start()[None]).flatten().tolist()
    assert scores == pytest.approx([0.2, RATE_BOUND, 0.5], rel=1e-5)


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_regression_scores_invert_the_label(transform: str) -> None:
    task = TaskSpec(name="a", kind="regression", transform=transform, mean=2.0, std=0.5)  # type: ignore[arg-type]
    objective, label = Regression([task]), 7.0
    target = ((math.log1p(label) if transform == "log1p" else label) - 2.0) / 0.5
    logits = torch.tensor([[[target]], [[target + 3]]])
    assert objective.loss(logits, torch.tensor([[label]])).flatten().tolist() == pytest.approx(
        [0, 3**2], abs=1e-4
    )
    assert objective.score(logits)[0].item() == pytest.approx(label, rel=1e-5)


def test_multiclass_scores_are_probabilities_and_the_loss_their_logarithm() -> None:
    task = TaskSpec(name="a", kind="multiclass", classes=("x", "y", "z"))
    objective, logits = Multiclass([task, task]), torch.randn(4, 2, 3)
    labels = torch.randint(3, (4, 2))
    p = objective.score(logits)
    torch.testing.assert_close(p.sum(2), torch.ones(4, 2))
    expected = -p.gather(2, labels[:, :, None]).squeeze(2).log()
    torch.testing.assert_close(objective.loss(logits, labels.float()), expected)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(TASKS))))
def test_mixed_kinds_keep_the_order_of_the_tasks(order: list[int]) -> None:
    """Each task's loss and scores are those it has alone."""
    tasks = [TASKS[t] for t in order]
    mixed = MixedObjective(tasks)
    logits, labels = torch.randn(6, sum(mixed.outputs)), torch.randint(2, (6, len(tasks))).float()
    losses, scores, start = mixed.losses(logits, labels), mixed.scores(logits), mixed.start()
    own = logits.split(mixed.outputs, 1), scores.split(mixed.outputs, 1)
    for t, (task, z, score, begin) in enumerate(
        zip(tasks, *own, start.split(mixed.outputs), strict=True)
    ):
        alone = MixedObjective([task])
        torch.testing.assert_close(losses[:, t : t + 1], alone.losses(z, labels[:, t : t + 1]))
        torch.testing.assert_close(score, alone.scores(z))
        torch.testing.assert_close(begin, alone.start())


class TwoLogits(Binary):
    """A binary task whose score is made of the second of two logits."""

    @property
    def outputs(self) -> int:
        return 2

    def start(self) -> torch.Tensor:
        return torch.arange(2.0 * len(self.tasks)).view(-1, 2)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.sum(2) - labels

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, :, 1:]


def test_a_task_may_have_more_logits_than_scores() -> None:
    """Tasks: click, buy, watch, tab (3 classes), like; the binary ones have two logits each."""
    mixed = MixedObjective(TASKS, TwoLogits)
    assert mixed.outputs == [2, 2, 1, 3, 2]
    assert mixed.start().tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 4, 5]
    logits, labels = torch.randn(6, 10), torch.ones(6, 5)
    scores, losses = mixed.scores(logits), mixed.losses(logits, labels)
    assert scores.shape == (6, 7)
    assert torch.equal(scores[:, [0, 1, 6]], logits[:, [1, 3, 9]])
    torch.testing.assert_close(scores[:, 3:6], logits[:, 5:8].softmax(1))
    assert torch.equal(losses[:, 1], logits[:, 2] + logits[:, 3] - 1)


def log_task(mean: float = 0.0, std: float = 1.0) -> TaskSpec:
    return TaskSpec(name="watch", kind="regression", transform="log1p", mean=mean, std=std)


@given(st.integers(0, 2**31 - 1), st.floats(-2, 2), st.floats(0.5, 2))
def test_smearing_keeps_the_mean_of_what_a_log_task_sees(
    seed: int, mean: float, std: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    objective = Regression([log_task(mean, std)])
    logits = torch.randn(64, 1, 1, generator=generator) * 0.1
    labels = torch.randn(64, 1, generator=generator).exp()
    observed = torch.rand(64, 1, generator=generator) < 0.7
    observed[0] = True
    objective.follow(logits, labels, observed, torch.ones(64))
    predicted = (logits[:, :, 0] * std + mean).exp()
    expected = ((1 + labels) / predicted)[observed].mean() * predicted - 1
    torch.testing.assert_close(objective.score(logits)[:, :, 0], expected, rtol=1e-5, atol=1e-5)


def test_smearing_is_the_mean_over_batches_and_skips_those_without_a_label() -> None:
    objective = Regression([log_task()])
    logits, yes = torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool)
    objective.follow(logits, torch.full((2, 1), 1.0), yes, torch.ones(2))
    objective.follow(logits, torch.full((2, 1), 9.0), ~yes, torch.ones(2))
    objective.follow(logits, torch.full((2, 1), 3.0), yes, torch.ones(2))
    assert objective.smearing.item() == pytest.approx(((1 + 1) + (1 + 3)) / 2)


def test_a_task_without_a_log_is_not_smeared() -> None:
    objective = Regression([TaskSpec(name="price", kind="regression", mean=5.0, std=2.0)])
    logits, observed = torch.ones(3, 1, 1), torch.ones(3, 1, dtype=torch.bool)
    objective.follow(logits, torch.full((3, 1), 100.0), observed, torch.ones(3))
    assert objective.score(logits).flatten().tolist() == [1.0 * 2.0 + 5.0] * 3
