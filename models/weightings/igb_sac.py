"""IGB by reinforcement: an agent proposes the weights that let the least improving task improve.

state   the tasks' losses over their base, smoothed        action  free logits of the weights
reward  min_t (l_t(before) - l_t(now)), l the smoothed ratios, over the learning rate's share

    total = sum_t w_t log L_t        the weight of L_t is w_t / L_t

base_t is the mean loss of the second window, as in `igb`. Weights are random for three windows; the
agent (`fulcrum.models.agents.sac`) learns every so many steps from the third on. 1 / L_t is bounded
as in `igb`.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.models.agents.sac import SAC, Replay, weights
from fulcrum.models.step import After, Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.igb import LEAST
from fulcrum.models.weightings.level import Level

SMOOTH = 0.9
"""Share of the ratios before in the smoothed ones: single batches are mostly noise."""
BATCH, UPDATES = 128, 25
"""Transitions in a batch, and updates at a time, while the replay memory is empty; twice as many
when it is full."""


class IGBSACConfig(WeightingConfig):
    """Improvable gap balancing by an agent."""

    source: ClassVar[str] = "Dai, Fei and Lu, arXiv 2307.15429, UAI 2023, IGB-v2"
    summary: ClassVar[str] = "an agent learns weights that let the slowest task improve"
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "agent"

    method: Literal["igb_sac"] = "igb_sac"
    window: int | None = Field(None, ge=1)
    """Steps of a window; the base is that of the second. An epoch when left out, or a tenth of a
    short training."""
    every: int = Field(50, ge=1)
    """Steps from one time that the agent learns to the next."""
    replay: int = Field(10_000, ge=1)
    """Transitions that are remembered."""
    hidden: int = Field(128, ge=1)
    """Units of both hidden layers of every network of the agent."""

    def build(self, setting: Setting) -> "IGBSAC":
        return IGBSAC(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if len(declared.tasks) == 1:
            yield ("method",), "divides a weight among tasks, and there is one; expected `static`"


class IGBSAC(Weighting):
    """Departures: T - 1 free logits, so that no two actions are the same weights; the Gaussian's
    own log probability, where the released code corrects for a tanh that is not there; ratios are
    smoothed, for the code rewards the noise between two batches; the learning rate's share is the
    real one. Windows stand for epochs, and fewer do: weights are random for three and not five, the
    agent learns after two and not three. A step in which no task is observed teaches nothing."""

    config: IGBSACConfig
    total: Tensor
    seen: Tensor
    ratios: Tensor
    action: Tensor
    known: Tensor
    share: Tensor

    def __init__(self, config: IGBSACConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        tasks = len(self.names)
        self.window = config.window or max(1, min(setting.epoch, setting.steps // 10))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.agent = SAC(tasks, config.hidden)
        self.replay = Replay(config.replay, tasks, tasks - 1)
        for name in ("total", "seen", "ratios"):
            self.register_buffer(name, torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("action", torch.zeros(tasks - 1))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))
        self.register_buffer("share", torch.ones(()))
        self.level = Level(tasks)

    def weigh(self, step: Step) -> Tensor:
        random, k = self.random(), int(self.steps)
        second = step.active & (self.window <= k < 2 * self.window)
        self.total += step.losses.where(second, 0.0)
        self.seen += second
        self.level.add(step)
        if k >= 2 * self.window:
            self._observe(step)
        if k < 3 * self.window:
            self.action.copy_(torch.randn(self.action.shape, generator=random))
        else:
            with torch.no_grad():
                self.action.copy_(self.agent.act(self.ratios.float()[None], random)[0][0])
        if k >= 2 * self.window and k % self.config.every == 0 and len(self.replay):
            self._learn(random)
        return weights(self.action.double()) * self.level.reciprocal(step.losses, LEAST)

    def after_step(self, after: After) -> None:
        self.share.fill_(max(after.rate, 0.01))

    def _observe(self, step: Step) -> None:
        """The transition that the step before made."""
        base = self.total / self.seen.clamp(min=1)
        base = torch.where(base > 0, base, 1.0)
        now = torch.where(step.active, step.losses / base, self.ratios)
        before = self.ratios.clone()
        smoothed = SMOOTH * before + (1 - SMOOTH) * now if bool(self.known) else now
        if bool(self.known) and step.active.any():
            reward = float((before - smoothed)[step.active].min() / self.share)
            self.replay.add(before.float(), self.action, reward, smoothed.float())
        self.ratios.copy_(smoothed)
        self.known.fill_(True)

    def _learn(self, random: torch.Generator) -> None:
        fullness = 1 + len(self.replay) / self.replay.capacity
        for _ in range(int(UPDATES * fullness)):
            batch = self.replay.sample(int(BATCH * fullness), random)
            self.agent.update(batch, random)
