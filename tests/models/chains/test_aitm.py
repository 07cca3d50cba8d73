"""AITM: the contract, what is handed on along a funnel, and to whom."""

import math

import pytest
import torch
from torch import Tensor

from fulcrum.features.layout import TaskSpec
from fulcrum.models.chains.aitm import AITM, AITMConfig
from fulcrum.models.layers.towers import Towers
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.testing.chains import ChainContract, chained
from fulcrum.testing.layouts import TASKS
from tests.models.debug import MODELS

WIDTH, K = 6, 5
LINE = chained(None, "a", "b", "c")


class TestAITM(ChainContract):
    block = MODELS["aitm"]


class Net:
    """Towers and what ties them, in float64, on representations `(batch, tasks, WIDTH)`."""

    def __init__(self, tasks: tuple[TaskSpec, ...] = LINE, alpha: float = 0.0) -> None:
        config = AITMConfig(alpha=alpha)
        self.tasks = MixedObjective(tasks, lambda binary: config.build(binary, K, 0.0)).double()
        self.towers = Towers(WIDTH, (8, K), self.tasks.outputs, 0.0).double()
        (self.aitm,) = (g.objective for g in self.tasks.groups if isinstance(g.objective, AITM))
        self.x = torch.randn(16, len(tasks), WIDTH, dtype=torch.float64)
        self.labels = torch.randint(2, (16, len(tasks))).double()

    def logits(self) -> Tensor:
        return self.towers.logits(self.tasks.transfer(self.towers.represent(self.x)))

    def reached(self, task: int) -> list[bool]:
        """Which towers the gradient of a task's loss reaches at all."""
        self.towers.zero_grad()
        self.tasks.losses(self.logits(), self.labels)[:, task].mean().backward()
        grads = [p.grad for p in self.towers.hidden.parameters()]
        per_tower = [[bool(grad[t].any()) for grad in grads] for t in range(self.x.shape[1])]  # type: ignore[index]
        assert all(len(set(tower)) == 1 for tower in per_tower), "a tower is reached in part"
        return [tower[0] for tower in per_tower]


def vectors() -> tuple[Tensor, Tensor]:
    p, q = torch.randn(2, 3, 7, K, dtype=torch.float64)
    return p, q


def test_the_weights_of_what_is_handed_on_and_what_is_own_sum_to_one() -> None:
    """Section 12, test 1."""
    aitm, (p, q) = Net().aitm, vectors()
    z, w = aitm.attend(p, q)
    assert z.shape == (3, 7, K) and w.shape == (3, 7, 2)
    torch.testing.assert_close(w.sum(-1), torch.ones_like(w[..., 0]), rtol=0, atol=1e-10)
    assert (w[..., 0] != w[..., 1]).all()


def test_equal_inputs_share_alike() -> None:
    """Section 12, test 1: z = h1(q)."""
    aitm, (_, q) = Net().aitm, vectors()
    z, w = aitm.attend(q, q)
    assert (w == 0.5).all()
    h1 = aitm.h.weight[:K]
    torch.testing.assert_close(z, q @ h1.T, rtol=0, atol=1e-10)


def test_attention_is_that_of_its_equations() -> None:
    aitm, (p, q) = Net().aitm, vectors()
    h1, h2, h3 = aitm.h.weight.chunk(3)
    s = [((u @ h2.T) * (u @ h3.T)).sum(-1) / math.sqrt(K) for u in (p, q)]
    first = s[0].exp() / (s[0].exp() + s[1].exp())
    z, w = aitm.attend(p, q)
    torch.testing.assert_close(w[..., 0], first, rtol=0, atol=1e-10)
    expected = first[..., None] * (p @ h1.T) + (1 - first)[..., None] * (q @ h1.T)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)


def test_the_order_of_the_two_does_not_matter() -> None:
    """Section 12, test 4."""
    aitm, (p, q) = Net().aitm, vectors()
    torch.testing.assert_close(aitm.attend(p, q)[0], aitm.attend(q, p)[0], rtol=0, atol=1e-10)


def test_the_calibrator_is_zero_while_predictions_fall() -> None:
    """Section 12, test 2."""
    logits = torch.tensor([[3.0, 1.0, 1.0, -2.0]], dtype=torch.float64)[:, :, None]
    labels = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    with_, without = (AITMConfig(alpha=a).build(LINE, K, 0.0) for a in (0.6, 0.0))
    assert torch.equal(with_.loss(logits, labels), without.loss(logits, labels))


def test_the_calibrator_pulls_a_violated_pair_together() -> None:
    """Section 12, test 2: +1/N on the later prediction, -1/N on the earlier one; here for tasks
    listed child first, one pair of four violated in each row."""
    tasks = chained("b", None)
    rows, alpha = 8, 0.6
    own = torch.randn(rows, 2, dtype=torch.float64)
    violated = torch.arange(rows) % 4 == 0
    own = torch.stack([own.amin(1) - 0.1, own.amax(1)], 1)
    own[violated] = own[violated].flip(1)
    own.requires_grad_()
    labels = torch.randint(2, (rows, 2)).double()
    with_, without = (AITMConfig(alpha=a).build(tasks, K, 0.0) for a in (alpha, 0.0))
    extra = with_.loss(own[:, :, None], labels) - without.loss(own[:, :, None], labels)
    y = own.sigmoid()
    excess = (y[:, 0] - y[:, 1]).clamp(min=0)
    torch.testing.assert_close(extra[:, 0], alpha * excess, rtol=0, atol=1e-10)
    assert not extra[:, 1].any()
    (grad,) = torch.autograd.grad(extra.mean(0).sum(), own)
    slope = (y * (1 - y)).detach()
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64) * violated[:, None]
    torch.testing.assert_close(grad, alpha * sign * slope / rows, rtol=0, atol=1e-10)


def test_gradients_flow_up_the_chain_and_never_down() -> None:
    """Section 12, test 3."""
    net = Net()
    assert net.reached(0) == [True, False, False, False]
    assert net.reached(2) == [True, True, True, False]
    assert net.reached(3) == [True, True, True, True]


def test_the_chain_is_recurrent_in_z() -> None:
    """Section 12, test 5: with what the second task hands on detached, the last loss reaches the
    last two towers alone."""
    net = Net()
    net.aitm.g[1].register_forward_hook(lambda _, x, y: y.detach())
    assert net.reached(3) == [False, False, True, True]


def test_the_calibrator_is_a_second_path_to_the_parent() -> None:
    """With nothing handed on, and every prediction above the one before."""
    for alpha, reached in ((0.0, [False, False, False, True]), (0.6, [False, False, True, True])):
        net = Net(alpha=alpha)
        for g in net.aitm.g:
            g.register_forward_hook(lambda _, x, y: y.detach())
        with torch.no_grad():
            net.towers.last.bias.copy_(5 * torch.arange(4.0)[:, None])  # type: ignore[union-attr]
        assert net.reached(3) == reached


def test_a_parent_hands_on_to_all_its_children() -> None:
    """c and d given a, b given d, a in the middle: every task gets what its parent's z makes."""
    tasks = chained(None, "d", "a", "a")
    net = Net(tasks)
    assert [len(step) for step in net.aitm.steps] == [2, 1]
    q = net.towers.represent(net.x)
    z = net.tasks.transfer(q)
    first, second = (
        g(torch.stack(z_)) for g, z_ in zip(net.aitm.g, ([z[0]] * 2, [z[3]]), strict=True)
    )
    assert torch.equal(z[0], q[0])
    for t, p in ((2, first[0]), (3, first[1]), (1, second[0])):
        torch.testing.assert_close(z[t], net.aitm.attend(p, q[t])[0], rtol=0, atol=1e-10)
    assert net.reached(1) == [True, True, False, True]
    assert net.reached(2) == [True, False, True, False]


def test_tasks_of_other_kinds_keep_their_towers() -> None:
    """Tasks: like, tab, watch, buy given click, click."""
    net = Net(TASKS[::-1])
    q = net.towers.represent(net.x)
    z = net.tasks.transfer(q)
    assert [torch.equal(z[t], q[t]) for t in range(5)] == [True, True, True, False, True]
    torch.testing.assert_close(z[3], net.aitm.attend(net.aitm.g[0](q[4:])[0], q[3])[0])


def test_with_all_weight_on_its_own_it_is_independent_towers() -> None:
    """I15: w_q = 1, h1 = I, alpha = 0."""
    net = Net()
    with torch.no_grad():
        identity = torch.eye(K)
        net.aitm.h.weight.copy_(torch.cat([identity, 1e3 * identity, 1e3 * identity]))
        for g in net.aitm.g:
            g.layers[0].bias.fill_(-1e6)  # hands on zeros, so that s_p = 0 and s_q = 1e6 |q|² / √k
    alone = MixedObjective(chained(None, None, None, None))
    towers = net.towers(net.x)
    torch.testing.assert_close(net.logits(), towers, rtol=0, atol=1e-10)
    losses = net.tasks.losses(towers, net.labels), alone.losses(towers, net.labels)
    torch.testing.assert_close(*losses, rtol=0, atol=1e-10)
    assert torch.equal(net.tasks.scores(towers), alone.scores(towers))


@pytest.mark.parametrize("tasks", [chained(None), chained(None, None)])
def test_without_a_chain_there_is_nothing_to_learn(tasks: tuple[TaskSpec, ...]) -> None:
    net = Net(tasks, alpha=0.6)
    assert not list(net.aitm.parameters())
    alone = MixedObjective(tasks)
    towers = net.towers(net.x)
    assert torch.equal(net.logits(), towers)
    assert torch.equal(net.tasks.losses(towers, net.labels), alone.losses(towers, net.labels))


def test_towers_start_at_the_rate_of_the_task_itself() -> None:
    tasks = [
        TaskSpec(name="click", kind="binary", rate=0.2),
        TaskSpec(name="buy", kind="binary", given="click", rate=0.05),
    ]
    aitm = AITMConfig().build(tasks, K, 0.0)
    scores = aitm.score(aitm.start()[None]).flatten().tolist()
    assert scores == pytest.approx([0.2, 0.05], rel=1e-5)
