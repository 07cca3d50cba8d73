"""`python -m benchmarks.long_term`: sessions whose beginnings matter, and what RMTL does there.

RMTL (Liu et al., WWW 2023) takes a session for an episode: the reward of a row is minus its log
loss, and what counts is the return from the beginning, rows further on being discounted.

    return = mean over sessions of Σ_t γ^t r_t            r_t = -loss_t, mean over tasks

The planted sessions are 8 to 16 rows long. Two binary tasks; what decides their labels changes
after the first four rows, and the network, of two shared units, is too small for both:

    logit_k = 2 (a_k if t < 4 else b_k) · x               x ~ N(0, I) in R^8, |a_k| = |b_k| = 1

Plain training serves all rows alike, and most rows are late ones. RMTL weighs a row by its loss and
the discounted loss of the rest of its session, which is largest where a session begins: the network
gives up some of the late rows for the early ones, and the return counts those most. A network large
enough for both would lose nothing under equal weights, and gain nothing by others.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import matplotlib
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from features.layout import TaskSpec
from models.step import Rows, Step
from models.weightings import WEIGHTINGS, Setting, StaticConfig, Weighting, WeightingConfig
from pipelines import figures

TASKS = tuple(TaskSpec(name=name, kind="binary", rate=0.5) for name in ("click", "buy"))
INPUTS, EARLY, SHORTEST, LONGEST = 8, 4, 8, 16
GAMMA = 0.9
DOCS = Path(__file__).parent.parent / "docs" / "weightings"


@dataclass(frozen=True)
class Study:
    """How long and how often."""

    seeds: int = 10
    sessions: int = 600
    """To train on."""
    test: int = 4000
    """Sessions to measure on."""
    batch_size: int = 256
    pretraining: int = 20
    """Epochs with equal weights; every method goes on from there."""
    epochs: int = 20
    lr: float = 1e-2
    """Of Adam at the first step of either; it falls to 0 along a line."""
    units: int = 2
    """Shared by the tasks."""


@dataclass(frozen=True)
class Sessions:
    """Rows, session by session and in order."""

    x: Tensor
    """`(rows, inputs + 1)`; the last column is the place in the session."""
    y: Tensor
    """`(rows, tasks)`."""
    session: Tensor
    """`(rows,)`."""
    place: Tensor
    """`(rows,)` from 0."""


class World:
    """What decides the labels: two planted directions per task."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        basis = torch.randn(INPUTS, 2 * len(TASKS), generator=self.random)
        early, late = torch.linalg.qr(basis)[0].chunk(2, 1)
        self.w = torch.stack([early, late])
        """`(2, inputs, tasks)`: of early rows, of late ones."""

    def draw(self, sessions: int) -> Sessions:
        """Whole sessions."""
        lengths = torch.randint(SHORTEST, LONGEST + 1, (sessions,), generator=self.random)
        session = torch.arange(sessions).repeat_interleave(lengths)
        place = torch.cat([torch.arange(n) for n in lengths])
        x = torch.randn(len(session), INPUTS, generator=self.random)
        early, late = 2 * x @ self.w
        chance = torch.where(place[:, None] < EARLY, early, late).sigmoid()
        y = (torch.rand(chance.shape, generator=self.random) < chance).float()
        return Sessions(torch.cat([x, place[:, None] / LONGEST], 1), y, session, place)


def make_network(units: int) -> nn.Module:
    """`(rows, inputs + 1)` to logits `(rows, tasks)`."""
    return nn.Sequential(nn.Linear(INPUTS + 1, units), nn.Tanh(), nn.Linear(units, len(TASKS)))


def row_losses(network: nn.Module, rows: Sessions) -> Tensor:
    """`(rows, tasks)`."""
    return F.binary_cross_entropy_with_logits(network(rows.x), rows.y, reduction="none")


def fit(network: nn.Module, data: Sessions, weighting: Weighting, study: Study, epochs: int) -> None:
    """Train; the batches are the same under every weighting."""
    random = torch.Generator().manual_seed(0)
    order = [torch.randperm(len(data.x), generator=random) for _ in range(epochs)]
    batches = [index for epoch in order for index in epoch.split(study.batch_size)]
    optimizer = torch.optim.Adam(network.parameters(), study.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(batches))
    active = torch.ones(len(TASKS)) > 0
    for index in batches:
        losses = row_losses(network, chosen(data, index))
        rows = seen(network, data, index)
        weights = weighting(Step(losses.mean(0), active, no_gramian, lambda rows=rows: rows))
        optimizer.zero_grad()
        (weights * losses).mean(0).sum().backward()
        optimizer.step()
        schedule.step()


def no_gramian() -> Tensor:
    raise AssertionError("no method of this study looks at gradients")


def chosen(data: Sessions, index: Tensor) -> Sessions:
    return Sessions(data.x[index], data.y[index], data.session[index], data.place[index])


@torch.no_grad()
def seen(network: nn.Module, data: Sessions, index: Tensor) -> Rows:
    """What a weighting may know of rows."""
    some = chosen(data, index)
    return Rows(
        state=some.x,
        scores=network(some.x).sigmoid(),
        losses=row_losses(network, some),
        labels=some.y,
        observed=torch.ones_like(some.y) > 0,
        weight=torch.ones(len(index)),
        session=some.session,
        index=index,
    )


def teach(weighting: Weighting, network: nn.Module, data: Sessions, study: Study) -> None:
    """The lessons that a weighting asks for, in batches of whole sessions."""
    random = torch.Generator().manual_seed(1)
    per_batch = max(study.batch_size * 2 // (SHORTEST + LONGEST), 1)
    sessions = int(data.session[-1]) + 1
    starts = torch.searchsorted(data.session, torch.arange(sessions + 1))
    left = weighting.lessons(-(-sessions // per_batch))
    while left > 0:
        for some in torch.randperm(sessions, generator=random).split(per_batch)[:left]:
            index = torch.cat([torch.arange(int(starts[s]), int(starts[s + 1])) for s in some])
            weighting.learn(seen(network, data, index))
            left -= 1
    weighting.taught()
