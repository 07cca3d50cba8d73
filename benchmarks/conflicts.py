"""`python -m benchmarks.conflicts`: where task gradients should be compared, measured.

MMoE is trained with equal weights on the shipped feedback, with all features of the shipped config
or with the categorical ones alone, where tables hold most of what is shared. At every so many steps
the products of the task gradients are taken in each place at once, from one forward pass, and held
against those of all shared parameters, tables and experts:

    cosines       of every pair of tasks: their correlation with the true ones, and equal signs
    conflicts     UPGrad solves for weights w on the products of the place; the update conflicts
                  where its true cosine with a task's gradient is below -0.01:
                  cos(g_t, d) = (G w)_t / √(G_tt w·G w), G the true products

What a place cannot see, a conflict-averse method cannot avoid.
"""

import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Annotated

import matplotlib
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.progress import track
from torch import Tensor

from fulcrum.features.layout import Layout
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.reading.reader import Reader
from fulcrum.models.gramians import GramianConfig, Graph, SketchConfig
from fulcrum.models.gramians.base import dense_products
from fulcrum.models.gramians.batch_sum import BatchSumConfig
from fulcrum.models.gramians.per_sample import PerSampleConfig
from fulcrum.models.gramians.rows import RowsConfig
from fulcrum.models.network import Network
from fulcrum.models.step import Rows, Step
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.weightings import Setting
from fulcrum.models.weightings.upgrad import UPGradConfig
from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.figures.run import STYLE, save
from fulcrum.pipelines.training.malloc import keep_freed_memory

CONFIG = Path(__file__).parent.parent / "configs" / "kuairand-feedback" / "mmoe.yaml"
CHANGES = (
    "tasks.watch_time=null",  # five tasks of one kind
    "model.embedding_dim=16",
    "model.experts=4",
    "model.expert=[128, 64]",
    "model.dropout=0",
)
DOCS = Path(__file__).parent.parent / "docs" / "weightings"
EQUAL, TRUTH = "no method", "rows + dense"
PLACES = ("per_sample", "batch_sum", "dense", "rows", "sketch", "sketch + dense", TRUTH)
CONFLICT = -0.01


@dataclass(frozen=True)
class Study:
    """How long, how often, and how closely."""

    steps: int = 300
    every: int = 10
    """Steps from one look to the next."""
    lr: float = 1e-3
    buckets: int = 2048


STUDIES = {512: Study(), 2048: Study(steps=150, every=5), 8192: Study(steps=40, every=2)}
"""By batch size; a large batch takes long."""


class Everywhere(GramianConfig):
    """All places at once."""

    buckets: int

    def products(self, graph: Graph) -> Tensor:
        """`(places, T, T)` in the order of `PLACES`."""
        dense = dense_products(graph)
        rows = RowsConfig().products(graph)
        sketch = SketchConfig(buckets=self.buckets).products(graph)
        proxies = (c.products(graph) for c in (PerSampleConfig(), BatchSumConfig()))
        return torch.stack([*proxies, dense, rows, sketch, sketch + dense, rows + dense])


@dataclass(frozen=True)
class Finding:
    """What one training says of a place."""

    features: str
    batch_size: int
    seed: int
    place: str
    looks: int
    correlation: float | None
    """Of the cosines with the true ones; None where nothing is compared."""
    same_sign: float | None
    """Share of the cosines."""
    conflicts: float
    """Share of the looks where the update would hurt a task."""


def look(
    dataset: PreparedDataset, model: TrunkConfig, batch_size: int, seed: int, study: Study
) -> Tensor:
    """`(looks, places, tasks, tasks)` products during a training with equal weights."""
    torch.manual_seed(seed)
    network = Network(dataset.state.layout, model, tables_device=torch.device("cpu"))
    network.objective.place = Everywhere(buckets=study.buckets)
    optimizer = torch.optim.Adam(network.parameters(), lr=study.lr)
    reader = Reader(dataset, "train", batch_size, seed=seed, shuffle=True)
    products, step = [], 0
    while step < study.steps:
        with closing(iter(reader)) as batches:
            for batch in batches:
                network.objective.watching = step % study.every == 0
                network.objective.salt = step
                optimizer.zero_grad()
                loss, out = network(batch)
                loss.backward()
                optimizer.step()
                if network.objective.watching:
                    products.append(out["products"])
                step += 1
                if step == study.steps:
                    break
    return torch.stack(products)


def findings(
    layout: Layout, products: Tensor, features: str, batch_size: int, seed: int
) -> Iterator[Finding]:
    """Of every place, and of equal weights."""
    which = features, batch_size, seed
    true = products[:, PLACES.index(TRUTH)]
    equal = [hurts(g, torch.ones(len(g), dtype=g.dtype)) for g in true]
    yield Finding(*which, EQUAL, len(true), None, None, share(equal))
    expected = cosines(true)
    for place, grams in zip(PLACES, products.unbind(1), strict=True):
        estimated = cosines(grams)
        correlation = torch.corrcoef(torch.stack([estimated, expected]))[0, 1].item()
        same = share((estimated.sign() == expected.sign()).tolist())
        hurt = [
            hurts(g, upgrad_weights(layout, g_place))
            for g, g_place in zip(true, grams, strict=True)
        ]
        yield Finding(*which, place, len(true), correlation, same, share(hurt))


def cosines(products: Tensor) -> Tensor:
    """`(looks, tasks, tasks)` to those of every pair at every look."""
    norms = products.diagonal(dim1=1, dim2=2).sqrt()
    pairs = torch.ones(products.shape[1:]).triu(1) > 0
    return (products / (norms[:, :, None] * norms[:, None]))[:, pairs].flatten()


def upgrad_weights(layout: Layout, products: Tensor) -> Tensor:
    """UPGrad's."""
    ones = torch.ones(len(products))
    step = Step(ones, ones > 0, lambda: products, no_rows)
    return UPGradConfig().build(Setting(layout.tasks))(step).double()


def no_rows() -> Rows:
    raise AssertionError("UPGrad looks at gradients alone")


def hurts(true: Tensor, weights: Tensor) -> bool:
    """Whether the update conflicts with some task's gradient."""
    length = (weights @ true @ weights).sqrt()
    return bool(((true @ weights) / (true.diagonal().sqrt() * length)).min() < CONFLICT)


def share(answers: Sequence[bool]) -> float:
    """Of those that are true."""
    return sum(answers) / len(answers)


def run(
    datasets: Mapping[str, PreparedDataset],
    model: TrunkConfig,
    studies: Mapping[int, Study],
    seeds: int,
) -> list[Finding]:
    """Every data set, batch size and seed."""
    trainings: list[Finding] = []
    for which in track(list(product(datasets, studies, range(seeds))), "training"):
        features, batch_size, seed = which
        dataset = datasets[features]
        products = look(dataset, model, batch_size, seed, studies[batch_size])
        trainings += findings(dataset.state.layout, products, *which)
    return trainings


@matplotlib.rc_context(STYLE)
def picture(trainings: Sequence[Finding]) -> Figure:
    """A row per set of features; every training a dot, every batch size a colour."""
    sets = list(dict.fromkeys(f.features for f in trainings))
    figure = Figure(figsize=(9, 0.6 + 3.2 * len(sets)), layout="constrained")
    for features, (left, right) in zip(
        sets, figure.subplots(len(sets), 2, squeeze=False), strict=True
    ):
        members = [f for f in trainings if f.features == features]
        draw(left, [(f, f.correlation) for f in members if f.correlation is not None])
        draw(right, [(f, f.conflicts) for f in members])
        left.set(title=f"Correlation of cosines, {features} features", xlim=(0, 1.03))
        right.set(title=f"Updates that hurt, {features} features", xlim=(-0.02, None))
        right.set_yticklabels([])
        right.xaxis.set_major_formatter(PercentFormatter(1))
    right.legend(title="batch size")
    return figure


def draw(axes: Axes, values: Sequence[tuple[Finding, float]]) -> None:
    """One line per place, `no method` on top."""
    names = [EQUAL, *PLACES]
    sizes = list(dict.fromkeys(f.batch_size for f, _ in values))
    for place, size in enumerate(sizes):
        beside = 0.2 * (place - (len(sizes) - 1) / 2)
        dots = [(v, names.index(f.place) + beside) for f, v in values if f.batch_size == size]
        axes.plot(*zip(*dots, strict=True), "o", markersize=5, label=f"{size:,}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def configured(changes: Sequence[str] = CHANGES) -> dict[str, RunConfig]:
    """The shipped run with the changes of this study, by the features it has."""
    config = load(CONFIG, changes)
    ids = {name: f for name, f in config.features.items() if f.kind == "categorical"}
    return {"all": config, "categorical": config.model_copy(update={"features": ids})}


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 1,
    output: Annotated[Path, typer.Option(help="Folder of the picture and the table.")] = DOCS,
) -> None:
    """Compare the places where task gradients can be taken. Run from the repository's root."""
    keep_freed_memory()  # as training does
    configs = configured()
    with tempfile.TemporaryDirectory() as folder:
        datasets = {name: prepare(config, Path(folder)) for name, config in configs.items()}
        trainings = run(datasets, configs["all"].model, STUDIES, seeds)
    with (output / "conflicts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Finding))
        writer.writerows(astuple(finding) for finding in trainings)
    save(picture(trainings), output / "conflicts.png")


if __name__ == "__main__":
    typer.run(main)
