"""ESMM: the contract, and products of probabilities, from logits of any size."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fulcrum.features.errors import ConfigError
from fulcrum.features.layout import TaskSpec
from fulcrum.models.chains.base import parents
from fulcrum.models.chains.esmm import ESMM, joint_logits
from fulcrum.models.objectives.binary import RATE_BOUND, Binary
from fulcrum.models.predictor import Predictor
from fulcrum.models.trunks.mmoe import MMoEConfig
from fulcrum.testing.chains import ChainContract, chained
from fulcrum.testing.layouts import TASKS, make_layout
from tests.models.debug import MODELS

logit = st.floats(-8, 8, width=32)


class TestESMM(ChainContract):
    block = MODELS["esmm"]


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
    objective = ESMM(chained(None, "a", "b"))
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
    """Unlike a loss over clicks alone; section 11, test 2."""
    logits = torch.zeros(1, 2, 1, requires_grad=True)
    ESMM(chained(None, "a")).loss(logits, torch.zeros(1, 2))[:, 1].sum().backward()
    assert logits.grad is not None and (logits.grad > 0).all()


@settings(max_examples=50, deadline=None)
@given(st.tuples(logit, logit, logit))
def test_a_chain_is_never_likelier_than_its_parts(values: tuple[float, ...]) -> None:
    """pCTCVR <= min(pCTR, pCVR); section 11, test 1."""
    own = torch.tensor([values], dtype=torch.float64)
    joint = ESMM(chained(None, "a", "b")).joint(own)
    assert (joint[:, 1:] <= torch.minimum(joint[:, :-1], own[:, 1:]) + 1e-12).all()


def test_the_loss_reads_the_second_label_through_the_first_alone() -> None:
    """CE(y, pCTR) + CE(y z, pCTCVR) and no term more, whatever z is where y = 0; section 11,
    test 3."""
    own = torch.randn(64, 2, dtype=torch.float64)
    y, z, other = (torch.randint(2, (64,)).double() for _ in range(3))
    p = own[:, 0].sigmoid(), own.sigmoid().prod(1)
    for kind in (z, torch.where(y == 1, z, other)):
        loss = ESMM(chained(None, "a")).loss(own[:, :, None], torch.stack([y, y * kind], 1))
        expected = [
            -(label * q.log() + (1 - label) * (1 - q).log())
            for label, q in zip((y, y * z), p, strict=True)
        ]
        torch.testing.assert_close(loss, torch.stack(expected, 1), rtol=0, atol=1e-10)


def test_without_chained_tasks_it_is_plain_log_loss() -> None:
    logits, labels = torch.randn(9, 3, 1), torch.randint(2, (9, 3)).float()
    tasks = chained(None, None, None)
    assert torch.equal(ESMM(tasks).loss(logits, labels), Binary(tasks).loss(logits, labels))
    assert torch.equal(ESMM(tasks).score(logits), Binary(tasks).score(logits))


def test_it_is_the_default_and_does_what_given_always_did() -> None:
    """Same starting logits, losses and scores, to the bit, and nothing new in a checkpoint."""
    layout = make_layout((*TASKS, TaskSpec(name="keep", kind="binary", given="buy", rate=0.0)))
    predictor = Predictor(layout, MMoEConfig(embedding_dim=4, experts=2, expert=(8,), tower=(4,)))
    tasks = predictor.tasks
    assert {name for name in predictor.state_dict() if name.startswith("tasks.")} == {
        "tasks.groups.1.objective.smearing",
        "tasks.groups.1.objective.batches",
    }

    def at_rate(rate: float) -> torch.Tensor:
        return torch.tensor(math.log(rate / (1 - rate)))

    click, buy, like, keep = 0, 1, 6, 7
    start = tasks.start()
    assert torch.equal(start[click], at_rate(0.3))
    assert torch.equal(start[buy], at_rate(0.06 / 0.3))
    assert torch.equal(start[like], at_rate(0.1))
    assert torch.equal(start[keep], at_rate(RATE_BOUND))

    logits, labels = torch.randn(32, 8) * 3, torch.randint(2, (32, 6)).float()
    columns, binary = [click, buy, like, keep], [0, 1, 4, 5]
    own = logits[:, columns]
    p, q = F.logsigmoid(own).unbind(1), F.logsigmoid(-own).unbind(1)
    both, not_both = p[0] + p[1], torch.logaddexp(q[0], p[0] + q[1])
    all_three, not_all = both + p[3], torch.logaddexp(not_both, both + q[3])
    joint = torch.stack([own[:, 0], both - not_both, own[:, 2], all_three - not_all], 1)
    loss = F.binary_cross_entropy_with_logits(joint, labels[:, binary], reduction="none")
    assert torch.equal(tasks.losses(logits, labels)[:, binary], loss)
    assert torch.equal(tasks.scores(logits)[:, columns], joint.sigmoid())


def test_towers_start_at_the_conditional_rate() -> None:
    tasks = [
        TaskSpec(name="click", kind="binary", rate=0.2),
        TaskSpec(name="buy", kind="binary", given="click", rate=0.05),
        TaskSpec(name="unknown", kind="binary", given="click"),
    ]
    objective = ESMM(tasks)
    assert objective.start().sigmoid().flatten().tolist() == pytest.approx([0.2, 0.05 / 0.2, 0.5])
    assert objective.score(objective.start()[None])[0, 1].item() == pytest.approx(0.05)


def test_a_circle_is_refused() -> None:
    with pytest.raises(ConfigError, match="circle"):
        parents(chained("b", "c", "a"))
    with pytest.raises(ConfigError, match="circle"):
        parents(chained("a"))


def test_an_unknown_parent_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.b\.given.*'z'.*a, b"):
        parents(chained(None, "z"))
