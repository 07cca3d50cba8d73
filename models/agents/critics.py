"""Critics of predictions: what a prediction will cost now and in the rest of the session.

K  critics, one a task        S  width of a state        s  state        a  predicted probability

    Q_k(s, a_k) = -softplus(MLP_k(s, a_k)) <= 0
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from fulcrum.models.agents.adam import Adam
from fulcrum.models.layers.stacked import StackedLinear, StackedMLP

LEAST = 1e-4
"""Actions stay this far from 0 and 1, so that no reward is below log 1e-4 = -9.21."""


class Critics(nn.Module):
    """K small networks that run as one; states are standardised by what `observe` saw."""

    mean: Tensor
    std: Tensor

    def __init__(self, critics: int, state: int, hidden: Sequence[int]) -> None:
        super().__init__()
        first, *rest = hidden
        self.state = StackedLinear(critics, state, first)
        self.action = nn.Parameter(torch.empty(critics, 1, first).uniform_(-1, 1))
        self.rest = StackedMLP(critics, first, rest, dropout=0.0)
        self.last = StackedLinear(critics, self.rest.width, 1)
        self.register_buffer("mean", torch.zeros(state))
        self.register_buffer("std", torch.ones(state))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """`(rows, S), (rows, K) -> (rows, K)`."""
        hidden = self.state(((states - self.mean) / self.std)[None])
        hidden = F.relu(hidden + actions.T[:, :, None] * self.action)
        return -F.softplus(self.last(self.rest(hidden))[:, :, 0].T)

    @torch.no_grad()
    def observe(self, states: Tensor) -> None:
        """Standardise by the mean and spread of these states `(rows, S)`, of all processes."""
        sums = torch.stack([states.sum(0), states.square().sum(0)]).double()
        count = torch.tensor(float(len(states)), dtype=torch.float64, device=states.device)
        for total in (sums, count):
            _sum_over_processes(total)
        mean = sums[0] / count
        std = (sums[1] / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))


class TemporalDifference(nn.Module):
    """Critics, their slow copies, and what trains them.

        y_k = r_k + gamma (1 - done) Q_k'(s', pi_k(s'))        loss = mean of (Q_k - y_k)^2
        phi' <- (1 - rate) phi' + rate phi

    pi is a policy that does not change: the pretrained network's predictions.
    """

    def __init__(
        self, critics: int, state: int, hidden: Sequence[int], gamma: float, lr: float, rate: float
    ) -> None:
        super().__init__()
        self.critics = Critics(critics, state, hidden)
        self.targets = Critics(critics, state, hidden).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())
        self.adam = Adam(self.critics.parameters(), lr)
        self.gamma, self.rate = gamma, rate

    def observe(self, states: Tensor) -> None:
        """See `Critics.observe`."""
        self.critics.observe(states)
        self.targets.observe(states)

    @torch.no_grad()
    def target(self, states: Tensor, policy: Tensor, rewards: Tensor, ends: Tensor) -> Tensor:
        """y `(rows, K)`. Rows follow one another within a session; `ends` `(rows,)` marks the last
        of each."""
        following = self.targets(states, policy).roll(-1, 0)
        return rewards + self.gamma * following * ~ends[:, None]

    def update(
        self,
        states: Tensor,
        actions: Tensor,
        policy: Tensor,
        rewards: Tensor,
        ends: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """One step on rows `(rows, S)`, `(rows, K)` four times, `ends (rows,)`, of which those with
        a reward are `mask (rows, K)`. Gives the loss `()` over all processes."""
        target = self.target(states, policy, rewards, ends)
        parameters = list(self.critics.parameters())
        with torch.enable_grad():
            errors = (self.critics(states, actions) - target).square() * mask
            loss = errors.sum() / mask.sum().clamp(min=1)
            gradients = torch.autograd.grad(loss, parameters)
        flat = torch.cat([loss.detach()[None], *(g.flatten() for g in gradients)])
        flat /= _sum_over_processes(flat)
        parts = flat[1:].split([p.numel() for p in parameters])
        self.adam.step(g.view_as(p) for g, p in zip(parts, parameters, strict=True))
        with torch.no_grad():
            for slow, fast in zip(self.targets.parameters(), parameters, strict=True):
                slow.lerp_(fast, self.rate)
        return flat[0]


def reward(actions: Tensor, labels: Tensor) -> Tensor:
    """y log a + (1 - y) log(1 - a), minus the log loss, of actions within `LEAST` of 0 and 1."""
    return labels * actions.log() + (1 - labels) * (-actions).log1p()


def session_ends(session: Tensor) -> Tensor:
    """`(rows,)` boolean: the last row of each run of equal keys `(rows,)`."""
    ends = torch.ones(len(session), dtype=torch.bool, device=session.device)
    ends[:-1] = session[1:] != session[:-1]
    return ends


def _sum_over_processes(total: Tensor) -> int:
    """Sum in place; gives the number of processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return 1
    dist.all_reduce(total)
    return dist.get_world_size()
