"""Soft actor-critic over task weights (Haarnoja et al., 2018, with a learned temperature).

s  state, R^T        u  free logits, R^(T-1), Gaussian around the actor's mean        r  reward

    y = r + gamma (min_i Q_i'(s', u') - alpha log pi(u' | s'))        critics: squared error to y
    actor:        minimise alpha log pi(u | s) - min_i Q_i(s, u)
    temperature:  minimise -alpha (log pi(u | s) + target entropy),   target entropy -(T - 1)
"""

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fulcrum.models.agents.adam import Adam

BOUND = 3.0
"""|mean logit| stays below: unbounded, weights run off to one task and never come back."""
LOG_STD = (-20.0, 2.0)


def weights(logits: Tensor) -> Tensor:
    """Free logits `(..., T - 1)` to weights `(..., T)` that sum to T; the last logit is 0."""
    full = F.pad(logits, (0, 1))
    return full.shape[-1] * full.softmax(-1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


class Replay(nn.Module):
    """The latest transitions, in tensors that are there from the start."""

    size: Tensor
    states: Tensor
    actions: Tensor
    rewards: Tensor
    following: Tensor

    def __init__(self, capacity: int, state: int, action: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("size", torch.zeros((), dtype=torch.int64))
        self.register_buffer("states", torch.zeros(capacity, state))
        self.register_buffer("actions", torch.zeros(capacity, action))
        self.register_buffer("rewards", torch.zeros(capacity))
        self.register_buffer("following", torch.zeros(capacity, state))

    def __len__(self) -> int:
        return min(int(self.size), self.capacity)

    def add(self, state: Tensor, action: Tensor, reward: float, following: Tensor) -> None:
        """One transition; the oldest makes room."""
        place = int(self.size) % self.capacity
        self.states[place], self.actions[place] = state, action
        self.rewards[place], self.following[place] = reward, following
        self.size += 1

    def sample(self, rows: int, random: torch.Generator) -> tuple[Tensor, ...]:
        """States, actions, rewards, following states of so many random transitions."""
        index = torch.randint(len(self), (rows,), generator=random)
        columns = (self.states, self.actions, self.rewards, self.following)
        return tuple(column[index] for column in columns)


class SAC(nn.Module):
    """Actor, twin critics with slow copies, temperature, and what trains them."""

    def __init__(
        self,
        tasks: int,
        hidden: int = 128,
        lr: float = 3e-4,
        gamma: float = 0.99,
        rate: float = 0.005,
        temperature: float = 0.2,
    ) -> None:
        super().__init__()
        self.free, self.gamma, self.rate = tasks - 1, gamma, rate
        self.actor = _mlp(tasks, hidden, 2 * self.free)
        self.critics = nn.ModuleList(_mlp(tasks + self.free, hidden, 1) for _ in range(2))
        self.targets = nn.ModuleList(_mlp(tasks + self.free, hidden, 1) for _ in range(2))
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = nn.Parameter(torch.tensor(math.log(temperature)))
        self.adams = nn.ModuleList(
            Adam(parameters, lr)
            for parameters in (self.actor.parameters(), self.critics.parameters(), [self.log_alpha])
        )

    def act(self, states: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Logits `(rows, T - 1)` drawn for states `(rows, T)`, and log pi `(rows,)`, which is that
        of the Gaussian: nothing squashes the logits, so there is no Jacobian."""
        mean, log_std = self.actor(states).chunk(2, -1)
        mean = mean.clamp(-BOUND, BOUND)
        log_std = log_std.clamp(*LOG_STD)
        noise = torch.randn(mean.shape, generator=random)
        log_pi = (-noise.square() / 2 - log_std - math.log(2 * math.pi) / 2).sum(-1)
        return mean + log_std.exp() * noise, log_pi

    def update(self, batch: tuple[Tensor, ...], random: torch.Generator) -> None:
        """One step of critics, actor and temperature, and of the slow copies."""
        states, actions, rewards, following = batch
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            then, log_then = self.act(following, random)
            value = self._least(self.targets, following, then) - alpha * log_then
            target = rewards + self.gamma * value
        with torch.enable_grad():
            q = self._values(self.critics, states, actions)
            errors = (q - target[:, None]).square().mean(0).sum()
            self._step(1, errors, self.critics.parameters())
            logits, log_pi = self.act(states, random)
            actor_loss = (alpha * log_pi - self._least(self.critics, states, logits)).mean()
            self._step(0, actor_loss, self.actor.parameters())
            excess = (log_pi.detach() - self.free).mean()  # log pi + target entropy
            self._step(2, -self.log_alpha.exp() * excess, [self.log_alpha])
        with torch.no_grad():
            pairs = zip(self.targets.parameters(), self.critics.parameters(), strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, self.rate)

    def _step(self, which: int, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        adam = cast(Adam, self.adams[which])
        adam.step(torch.autograd.grad(loss, list(parameters)))

    def _values(self, critics: nn.ModuleList, states: Tensor, logits: Tensor) -> Tensor:
        """`(rows, 2)`."""
        return torch.cat([critic(torch.cat([states, logits], -1)) for critic in critics], -1)

    def _least(self, critics: nn.ModuleList, states: Tensor, logits: Tensor) -> Tensor:
        return self._values(critics, states, logits).min(-1).values
