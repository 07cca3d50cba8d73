"""`python -m benchmarks.long_term`: sessions whose beginnings matter, and what RMTL does there.

RMTL (Liu et al., WWW 2023) takes a session for an episode: the reward of a row is minus its log
loss, and what counts is the return from the beginning, rows further on being discounted.

    return = mean over sessions of Σ_t g^t r_t            g = 0.9, r_t = -loss_t, mean over tasks

The planted sessions are 8 to 16 rows long. Two binary tasks; what decides their labels changes
after the first four rows, and the network, of two shared units, is too small for both:

    logit_k = 2 (a_k if t < 4 else b_k) · x               x ~ N(0, I) in R^8, |a_k| = |b_k| = 1

Plain training serves all rows alike, and most rows are late ones. RMTL weighs a row by its loss and
the discounted loss of the rest of its session, which is largest where a session begins: a network
too small for both gives up some of the late rows for the early ones, and the return counts those
most. A larger network learns the rarer early rows sooner that way; trained to the end it serves
both whatever the weights, as any model does that is right.
"""

import copy
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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

from fulcrum.features.layout import TaskSpec
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings import Setting, StaticConfig, Weighting, WeightingConfig
from fulcrum.models.weightings.rmtl import RMTLConfig
from fulcrum.models.weightings.rmtl_mc import RMTLMCConfig
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, save

TASKS = tuple(TaskSpec(name=name, kind="binary", rate=0.5) for name in ("click", "buy"))
INPUTS, EARLY, SHORTEST, LONGEST = 8, 4, 8, 16
GAMMA = 0.9
NETWORKS = {
    "2 units": {"units": 2},
    "16 units": {"units": 16},
    "16 units, to the end": {"units": 16, "epochs": 80},
}
"""Too small for both halves of a session; large enough, but not done learning; and done."""
DOCS = Path(__file__).parent.parent / "docs" / "weightings"

Results = dict[tuple[str, str], list[list[float]]]
"""Network and method to the measures of every seed."""


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


def fit(
    network: nn.Module, data: Sessions, weighting: Weighting, study: Study, epochs: int
) -> None:
    """Train; the batches are the same under every weighting."""
    random = torch.Generator().manual_seed(0)
    order = [torch.randperm(len(data.x), generator=random) for _ in range(epochs)]
    batches = [index for epoch in order for index in epoch.split(study.batch_size)]
    optimizer = torch.optim.Adam(network.parameters(), study.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(batches))
    active = torch.ones(len(TASKS)) > 0
    for index in batches:
        losses = row_losses(network, chosen(data, index))
        rows = row_facts(network, data, index)
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
def row_facts(network: nn.Module, data: Sessions, index: Tensor) -> Rows:
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
            weighting.learn(row_facts(network, data, index))
            left -= 1
    weighting.taught()


@torch.no_grad()
def measure(network: nn.Module, data: Sessions) -> list[float]:
    """What is told of a network, means over tasks: the return, log loss, and AUC of all rows and of
    the early ones; see `MEASURES`."""
    losses, scores = row_losses(network, data), network(data.x)
    sessions = int(data.session[-1]) + 1
    early = data.place < EARLY
    return [
        float(-(GAMMA**data.place * losses.mean(1)).sum() / sessions),
        float(losses.mean()),
        auc(data.y, scores),
        auc(data.y[early], scores[early]),
    ]


def auc(labels: Tensor, scores: Tensor) -> float:
    """Mean over tasks."""
    areas = [roc_auc_score(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    return sum(areas) / len(areas)


class DiscountConfig(WeightingConfig):
    """What the return itself asks for: a row at place t weighs g^t."""

    source: ClassVar[str] = "the return's own derivative"
    summary: ClassVar[str] = "rows weighted by their place in the session"

    method: Literal["discount"] = "discount"

    def build(self, setting: Setting) -> "Discount":
        return Discount(self, setting)


class Discount(Weighting):
    """The same for every task, mean 1 over the batch."""

    def weigh(self, step: Step) -> Tensor:
        weights = GAMMA ** (LONGEST * step.rows.state[:, -1:])
        return (weights / weights.mean()).expand_as(step.rows.losses)


BASELINE, TUNED = "static", "static, tuned"
GRID = (0.5, 1.0, 2.0)
"""Weights of the first task to one of the second, of which the best return on sessions of their own
is taken."""
METHODS: dict[str, WeightingConfig] = {
    BASELINE: StaticConfig(),
    "rmtl": RMTLConfig(gamma=GAMMA),
    "rmtl_mc": RMTLMCConfig(gamma=GAMMA),
    "discount": DiscountConfig(),
}
MEASURES = ("return", "log_loss", "auc", "early_auc")


def compare(study: Study, seed: int) -> dict[str, list[float]]:
    """`MEASURES` of every method in one world, all from the same pretrained network."""
    world = World(seed)
    data, valid, test = (world.draw(n) for n in (study.sessions, study.sessions, study.test))
    epoch = -(-len(data.x) // study.batch_size)
    setting = Setting(
        TASKS,
        epoch,
        study.epochs * epoch,
        state=data.x.shape[1],
        rows=len(data.x),
        seed=seed,
    )
    torch.manual_seed(seed)
    pretrained = make_network(study.units)
    fit(pretrained, data, StaticConfig().build(setting), study, study.pretraining)

    def go_on(config: WeightingConfig) -> nn.Module:
        weighting, network = config.build(setting), copy.deepcopy(pretrained)
        teach(weighting, network, data, study)
        fit(network, data, weighting, study, study.epochs)
        return network

    measures = {name: measure(go_on(config), test) for name, config in METHODS.items()}
    tuned = [go_on(StaticConfig(weights={TASKS[0].name: weight})) for weight in GRID]
    measures[TUNED] = measure(max(tuned, key=lambda network: measure(network, valid)[0]), test)
    return measures


def run(study: Study, networks: Mapping[str, Mapping[str, int]] = NETWORKS) -> Results:
    """Every network and seed."""
    results: Results = {}
    pairs = [(network, seed) for network in networks for seed in range(study.seeds)]
    for network, seed in track(pairs, "training"):
        for method, measures in compare(replace(study, **networks[network]), seed).items():
            results.setdefault((network, method), []).append(measures)
    return results


def change(results: Results, network: str, name: str) -> tuple[Tensor, Tensor]:
    """`(measures,)` mean difference to static weights on the same seeds, and half the width of its
    95 % t-interval."""
    method, static = (torch.tensor(results[network, n]).double() for n in (name, BASELINE))
    difference, seeds = method - static, len(method)
    error = difference.std(0) / seeds**0.5
    return difference.mean(0), error * stats.t.ppf(0.975, seeds - 1)


def table_rows(results: Results) -> Iterator[tuple[object, ...]]:
    """Network, method, seed, measures."""
    for (network, name), seeds in results.items():
        yield from ((network, name, seed, *measures) for seed, measures in enumerate(seeds))


@matplotlib.rc_context(STYLE)
def picture(results: Results) -> Figure:
    """What every method changes against static weights; a colour per network."""
    names = [name for name in dict.fromkeys(n for _, n in results) if name != BASELINE]
    networks = list(dict.fromkeys(network for network, _ in results))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for measure, axes in enumerate(panels):
        for number, network in enumerate(networks):
            changes = [change(results, network, name) for name in names]
            heights = [
                place + 0.2 * (number - (len(networks) - 1) / 2) for place in range(len(names))
            ]
            means, widths = ([float(pair[i][measure]) for pair in changes] for i in (0, 1))
            color = PALETTE[number]
            axes.errorbar(means, heights, xerr=widths, fmt="o", color=color, label=network)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_title(MEASURES[measure].replace("_", " "))
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    labelled = panels[0].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=len(networks))
    figure.suptitle("Change against static weights", x=0, ha="left")
    return figure


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Worlds for every method.")] = Study.seeds,
    output: Annotated[Path, typer.Option(help="Folder of the picture and the table.")] = DOCS,
) -> None:
    """Train small and large networks on planted sessions, by static weights and by RMTL."""
    results = run(Study(seeds=seeds))
    with (output / "long_term.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("network", "method", "seed", *MEASURES))
        writer.writerows(table_rows(results))
    save(picture(results), output / "long_term.png")
    table = Table("network", "method", *MEASURES)
    for network, name in results:
        means, (changes, widths) = mean(results, network, name), change(results, network, name)
        cells = [
            f"{m:.4f} ({c:+.4f} ± {w:.4f})" for m, c, w in zip(means, changes, widths, strict=True)
        ]
        table.add_row(network, name, *cells)
    Console().print(table)


def mean(results: Results, network: str, name: str) -> list[float]:
    """Of every measure, over seeds."""
    return torch.tensor(results[network, name]).double().mean(0).tolist()


if __name__ == "__main__":
    typer.run(main)
