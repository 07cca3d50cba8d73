"""RMTL: a weight per row and task, from critics that foresee a session's losses.

s  what the network reads of a row, a_k  predicted probability of task k, r_k  minus its log loss

    1. the network is trained with equal weights: the policy pi
    2. critics learn Q_k(s, a_k) = E[r_k + gamma r_k(next row) + ... to the session's end]
    3. training goes on from the pretrained weights with
       omega_ki = 1 - lambda Q_k(s_i, yhat_ki),  mean over rows 1 per task

What comes next in a log does not depend on the prediction, so omega is 1 + lambda (the expected
loss of this row + the discounted expected loss of the rest of its session): rows are weighted by
expected difficulty, now and later. It depends on features and prediction, never on the row's own
label, so calibration is left alone.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fulcrum.features.tasks import TASKS
from fulcrum.models.agents.critics import LEAST, TemporalDifference, reward, session_ends
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.row_weights import Normaliser
from fulcrum.models.weightings.static import StaticConfig

NOISE = 0.1
"""Standard deviation of the noise on the policy's own predictions."""


class RMTLConfig(WeightingConfig):
    """Rows weighted by what critics foresee."""

    source: ClassVar[str] = "Liu et al., RMTL, WWW 2023, arXiv 2302.03328"
    summary: ClassVar[str] = "rows weighted by the losses that critics foresee in their session"
    family: ClassVar[Literal["losses", "gradients", "agent"]] = "agent"
    sessions: ClassVar[bool] = True

    method: Literal["rmtl"] = "rmtl"
    normalise: bool = True
    """Scale each task's weights to mean 1 over the rows; without, the mean is a hidden factor on
    the learning rate."""
    strength: float = Field(0.7, ge=0)
    """lambda: how much a foreseen loss adds to a row's weight."""
    gamma: float = Field(0.95, ge=0, lt=1)
    """Discount of the session's next row."""
    hidden: tuple[int, ...] = Field((128, 64), min_length=1)
    """Hidden units of each critic."""
    lr: float = Field(1e-3, gt=0)
    """Of the critics' own Adam."""
    rate: float = Field(0.01, gt=0, le=1)
    """How fast the slow copies follow."""
    epochs: int = Field(5, ge=1)
    """Passes over the sessions that the critics learn from."""
    updates: int = Field(4, ge=1)
    """Updates on each batch of sessions, each with actions drawn anew."""
    explore: float = Field(0.5, ge=0, le=1)
    """Share of actions drawn uniformly; the others are the policy's predictions with noise."""

    @property
    def pretraining(self) -> WeightingConfig:
        return StaticConfig()

    def build(self, setting: Setting) -> "RMTL":
        return RMTL(self, setting)

    def problems(self, declared: Declared) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().problems(declared)
        if not declared.binary:
            yield ("method",), "needs a binary task, whose predicted probability is the action"


class RMTL(Weighting):
    """Critics read the network's own state and have no tables. Tasks that are not binary have
    weight 1.

    Departures from the released code: the reward is that of the stored action; actions are mixed,
    half uniform and half near the policy, which stays frozen; the head is a softplus, since a relu
    that begins on the dead side has no gradient; sessions are cut by pauses. The log is the replay
    memory: what follows a row does not depend on the action, so rows, and a seed to draw actions
    anew, are all there is to remember. In the third stage critics read the vectors of the network
    as it trains, not of a frozen copy, which would double the tables. Critics that had no lesson
    know nothing, and all weights are 1.
    """

    config: RMTLConfig
    seen: Tensor
    error: Tensor

    def __init__(self, config: RMTLConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.binary = [t for t, task in enumerate(setting.tasks) if TASKS[task.kind].two_classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.td = TemporalDifference(
                len(self.binary),
                setting.state,
                config.hidden,
                config.gamma,
                config.lr,
                config.rate,
            )
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("error", torch.zeros(()))
        self.normaliser = Normaliser(self.names, self.binary, config.normalise)

    def lessons(self, epoch: int) -> int:
        return self.config.epochs * epoch

    def learn(self, rows: Rows) -> None:
        self.td.to(rows.state.device)
        if not int(self.seen):
            self.td.observe(rows.state)
        policy, labels = rows.scores[:, self.binary], rows.labels[:, self.binary]
        ends, counted = session_ends(rows.session), rows.observed[:, self.binary]
        for update in range(self.config.updates):
            actions = self.act(policy, update)
            gained = reward(actions, labels)
            loss = self.td.update(rows.state, actions, policy, gained, ends, counted)
            self.error.copy_(loss)
        self.seen += 1

    def act(self, policy: Tensor, update: int) -> Tensor:
        """Actions `(rows, K)` around a policy's `(rows, K)`."""
        draw = torch.Generator()
        draw.manual_seed(hash((self.seed, int(self.seen), update)) % 2**63)
        uniform = torch.rand(policy.shape, generator=draw)
        noise = torch.randn(policy.shape, generator=draw)
        explores = torch.rand(policy.shape, generator=draw) < self.config.explore
        near = policy.cpu() + NOISE * noise
        return torch.where(explores, uniform, near).clamp(LEAST, 1 - LEAST).to(policy.device)

    @torch.no_grad()
    def weigh(self, step: Step) -> Tensor:
        rows = step.rows
        self.td.to(rows.state.device)
        # Without a lesson they are asked, too: what times a step untaught times what it will cost.
        q = self.td.critics(rows.state, rows.scores[:, self.binary])
        weights = self.normaliser(1 - self.config.strength * q, rows)
        return weights if int(self.seen) else torch.ones_like(weights)

    def facts(self) -> dict[str, float]:
        told = {"critic_loss": float(self.error)} if int(self.seen) else {}
        return {**super().facts(), **told, **self.normaliser.facts()}
