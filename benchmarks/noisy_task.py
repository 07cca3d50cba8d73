"""`python -m benchmarks.noisy_task`: a task whose noise ruins another, and which methods help.

Two regression tasks share one linear unit, as low a capacity as there is. Their planted weights
almost agree, so what serves one serves the other; but the labels of the second are ten times as
large, and most of that is noise:

    h = u · x        yhat_k = a_k h            x ~ N(0, I) in R^50, 500 rows
    y_clean = w_clean · x + e / 10             w unit vectors, w_clean · w_noisy = 0.9
    y_noisy = 10 (w_noisy · x + 4 e)           e ~ N(0, 1)

With equal weights the loss of the noisy task is a thousand times the other's, u fits its noise, and
the clean task has nothing else to read. The error of a task is exact, |a_k u - w_k|² beyond the
noise of its labels and in the unit of w_k: no test rows are drawn.

All seeds train at once, each with a weighting of its own and gradients that never meet.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import torch
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch import Tensor

from fulcrum.features.layout import TaskSpec
from fulcrum.models.step import Rows, Step
from fulcrum.models.weightings import WEIGHTINGS, Setting, Weighting, WeightingConfig
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, save

CLEAN, NOISY = 0, 1
TASKS = tuple(TaskSpec(name=n, kind="regression", mean=0.0, std=1.0) for n in ("clean", "noisy"))
INPUTS, AGREEMENT = 50, 0.9
SCALE, NOISE = torch.tensor([1.0, 10.0]), torch.tensor([0.1, 40.0])
"""Of the labels, by task."""
EQUAL, TUNED = "equal", "tuned by hand"
GRID = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Weights of the clean task to one of the noisy task, that static weights are chosen from."""
METHODS: dict[str, dict[str, Any]] = {
    "uncertainty": {},
    "imtl_l": {},
    "dwa": {},
    "random": {},
    "geometric": {},
    "stch": {},
    "famo": {},
    "igb": {},
    "igb_sac": {},
    "coba": {},
    "bandit": {},
    "gradnorm": {},
    "mgda": {},
    "pcgrad": {},
    "gradvac": {},
    "cagrad": {},
    "imtl_g": {},
    "nash": {},
    "aligned": {},
    "config": {},
    "dualproj": {},
    "upgrad": {"unit_rows": True},
}
"""Settings of every method beside its defaults."""
DOCS = Path(__file__).parent.parent / "docs" / "weightings"


@dataclass(frozen=True)
class Study:
    """How long and how often."""

    seeds: int = 10
    rows: int = 500
    valid: int = 100
    """Rows of the validation split."""
    epochs: int = 60
    batch_size: int = 50
    lr: float = 1e-2
    """Of Adam at the first step; it falls to 0 along a line."""
    noise: float = 1.0
    """Times the planted noise of the noisy task."""

    @property
    def epoch(self) -> int:
        """Steps."""
        return self.rows // self.batch_size


class World:
    """The rows of every seed."""

    def __init__(self, study: Study) -> None:
        random = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(study.seeds, INPUTS, 2, generator=random))
        first, second = basis.unbind(2)
        other = AGREEMENT * first + (1 - AGREEMENT**2) ** 0.5 * second
        self.w = torch.stack([first, other], 2)
        """`(seeds, inputs, tasks)`."""
        self.noise = NOISE * torch.tensor([1.0, study.noise])
        self.random = random
        self.train, self.valid = self.draw(study.rows), self.draw(study.valid)

    def draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Inputs `(seeds, rows, inputs)` and labels `(seeds, rows, tasks)`."""
        x = torch.randn(len(self.w), rows, INPUTS, generator=self.random)
        noise = torch.randn(len(self.w), rows, len(TASKS), generator=self.random)
        return x, SCALE * (x @ self.w) + self.noise * noise


class Networks:
    """One shared unit and a factor per task, for every seed."""

    def __init__(self, seeds: int) -> None:
        random = torch.Generator().manual_seed(1)
        self.u = (torch.randn(seeds, INPUTS, generator=random) / INPUTS**0.5).requires_grad_()
        self.a = torch.ones(seeds, len(TASKS), requires_grad=True)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """`(seeds, tasks)`."""
        h = (x @ self.u[:, :, None]).squeeze(2)
        return (self.a[:, None] * h[:, :, None] - y).square().mean(1)

    def products(self, losses: Tensor) -> Tensor:
        """`(seeds, tasks, tasks)` of the gradients of what is shared, exact."""
        rows = [torch.autograd.grad(task.sum(), self.u, retain_graph=True)[0] for task in losses.T]
        gradients = torch.stack(rows, 1).double()
        return gradients @ gradients.mT

    @torch.no_grad()
    def errors(self, w: Tensor) -> Tensor:
        """`(seeds, tasks)` beyond the noise of the labels, 1 for a network that knows nothing."""
        learned = self.u[:, :, None] * self.a[:, None] / SCALE
        return (learned - w).square().sum(1)


@dataclass(frozen=True)
class AfterStep:
    """See `fulcrum.models.step.After`; of one seed."""

    networks: Networks
    seed: int
    batch: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    rate: float

    @torch.no_grad()
    def again(self) -> Tensor:
        return self.networks.losses(*self.batch)[self.seed].double()

    @torch.no_grad()
    def held_out(self, number: int) -> Tensor:
        return self.networks.losses(*self.valid)[self.seed].double()


def train(config: WeightingConfig, world: World, study: Study) -> Networks:
    """A network of every seed under a method."""
    networks = Networks(study.seeds)
    steps = study.epochs * study.epoch
    weightings = [
        config.build(Setting(TASKS, study.epoch, steps, rows=study.rows, seed=seed))
        for seed in range(study.seeds)
    ]
    optimizer = torch.optim.Adam([networks.u, networks.a], study.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    x, y = world.train
    random = torch.Generator().manual_seed(2)
    for _ in range(study.epochs):
        for batch in torch.randperm(study.rows, generator=random).split(study.batch_size):
            rows = x[:, batch], y[:, batch]
            losses = networks.losses(*rows)
            weights = weigh(weightings, networks, losses)
            optimizer.zero_grad()
            (weights * losses).sum().backward()
            optimizer.step()
            schedule.step()
            rate = schedule.get_last_lr()[0] / study.lr
            for seed, weighting in enumerate(weightings):
                weighting.after_step(AfterStep(networks, seed, rows, world.valid, rate))
    return networks


def weigh(weightings: Sequence[Weighting], networks: Networks, losses: Tensor) -> Tensor:
    """`(seeds, tasks)`; the products are worked out once, if any seed asks."""
    active = torch.ones(len(TASKS)) > 0
    products: list[Tensor] = []

    def gramian(seed: int) -> Tensor:
        if not products:
            products.append(networks.products(losses))
        return products[0][seed]

    return torch.stack(
        [
            weighting(Step(losses[seed], active, partial(gramian, seed), no_rows))
            for seed, weighting in enumerate(weightings)
        ]
    )


def no_rows() -> Rows:
    raise AssertionError("no method of this study looks at rows")


def tune(world: World, study: Study) -> Tensor:
    """`(seeds, tasks)` errors of static weights, those of each seed chosen by the clean task's loss
    on the validation split."""
    losses, errors = [], []
    for weight in GRID:
        networks = train(WEIGHTINGS["static"](weights={"clean": weight}), world, study)
        losses.append(networks.losses(*world.valid).detach()[:, CLEAN])
        errors.append(networks.errors(world.w))
    best = torch.stack(losses).argmin(0)
    return torch.stack(errors)[best, torch.arange(study.seeds)]


def run(study: Study, methods: Mapping[str, WeightingConfig]) -> dict[str, Tensor]:
    """Errors `(seeds, tasks)` by method; equal weights and tuned ones first."""
    world = World(study)
    results = {
        EQUAL: train(WEIGHTINGS["static"](), world, study).errors(world.w),
        TUNED: tune(world, study),
    }
    for name, config in track(methods.items(), "training"):
        results[name] = train(config, world, study).errors(world.w)
    return results


def available() -> dict[str, WeightingConfig]:
    """The methods of the study that are registered."""
    return {
        name: WEIGHTINGS[name](**settings)
        for name, settings in METHODS.items()
        if name in WEIGHTINGS
    }


def change(results: Mapping[str, Tensor], name: str) -> tuple[float, float, float]:
    """Error of the clean task relative to equal weights on the same seeds, minus 1: mean and the
    ends of its 95 % t-interval."""
    relative = (results[name][:, CLEAN] / results[EQUAL][:, CLEAN] - 1).double().numpy()
    mean, error = relative.mean(), stats.sem(relative)
    low, high = stats.t.interval(0.95, len(relative) - 1, mean, error) if error else (mean, mean)
    return float(mean), float(low), float(high)


def table_rows(results: Mapping[str, Tensor]) -> Iterator[tuple[str, int, float, float]]:
    """Method, seed, error of the clean task, error of the noisy one."""
    for name, errors in results.items():
        yield from ((name, seed, *pair) for seed, pair in enumerate(errors.tolist()))


@matplotlib.rc_context(STYLE)
def picture(results: Mapping[str, Tensor]) -> Figure:
    """What each method saves the clean task, and where both tasks end; best method on top."""
    names = sorted((n for n in results if n != EQUAL), key=lambda n: change(results, n)[0])
    figure = Figure(figsize=(9, 1.2 + 0.2 * len(results)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, name in enumerate([*names, EQUAL]):
        mean, low, high = change(results, name)
        color = INK if name in (EQUAL, TUNED) else PALETTE[0]
        left.errorbar(mean, place, xerr=[[mean - low], [high - mean]], marker="o", color=color)
        for task in (CLEAN, NOISY):
            style = {"color": PALETTE[task], "label": TASKS[task].name if not place else ""}
            right.plot(results[name][:, task].mean(), place, "o", **style)
    left.set_yticks(range(len(results)), [*names, EQUAL])
    left.invert_yaxis()
    left.axvline(0, color=INK, linewidth=1)
    left.xaxis.set_major_formatter(PercentFormatter(1))
    # A task that is not trained at all drifts far away; where to, the right panel tells.
    left.set(title="Error of the clean task against equal", xlim=(-1.05, 0.25))
    right.axvline(1, color=INK, linewidth=1)
    right.set(title="Error of both, 1 = nothing learned", xscale="log")
    right.legend()
    return figure


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Worlds for every method.")] = Study.seeds,
    output: Annotated[Path, typer.Option(help="Folder of the picture and the table.")] = DOCS,
) -> None:
    """Train a clean and a noisy task together under every method."""
    results = run(Study(seeds=seeds), available())
    with (output / "noisy_task.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "seed", "clean", "noisy"))
        writer.writerows(table_rows(results))
    save(picture(results), output / "noisy_task.png")
    table = Table("method", "error of the clean task against equal", "clean", "noisy")
    for name, errors in results.items():
        mean, low, high = change(results, name)
        clean, noisy = errors.mean(0).tolist()
        table.add_row(name, f"{mean:.1%} ({low:.1%} to {high:.1%})", f"{clean:.4f}", f"{noisy:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
