"""`python -m benchmarks.mmoe_study`: MMoE's synthetic study, and its picture for the docs.

Two regression tasks whose weights are planted at a chosen angle (Ma et al., KDD 2018, section 3.2):

    w_1 = u_1    w_2 = p u_1 + √(1 - p²) u_2            u_1, u_2 orthonormal in R^d
    y_k = w_k · x + Σ_i sin(a_i w_k · x + b_i) + e      x ~ N(0, I), e ~ N(0, 0.01)

d, the networks' sizes and Adam are the paper's. The paper does not give a and b: N(0, 1) each and
ten of them, as PLE (RecSys 2020, section 5.2.1) chose. All seeds of a network train at once, each
on rows of its own that are never seen twice, with gradients that never meet.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.progress import track
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from fulcrum.models.layers.towers import Towers
from fulcrum.models.trunks import TrunkConfig
from fulcrum.models.trunks.mmoe import MMoEConfig, OMoEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.pipelines.figures.run import INK, PALETTE, STYLE, save

INPUTS, SINES, NOISE = 100, 10, 0.1
CORRELATIONS = (0.0, 0.5, 0.9, 1.0)
SIZES = {"embedding_dim": 1, "tower": (8,)}
NETWORKS: dict[str, TrunkConfig] = {
    "shared_bottom": SharedBottomConfig(hidden=(113,), **SIZES),
    "omoe": OMoEConfig(experts=8, expert=(16,), **SIZES),
    "mmoe": MMoEConfig(experts=8, expert=(16,), **SIZES),
}
"""Of about as many weights: 100·16·8 + 16·8·2 = 13,056 = (100 + 8·2) · 112.6."""
DOCS = Path(__file__).parent.parent / "docs" / "networks"

Results = dict[str, dict[float, list[float]]]
"""Network, correlation of the tasks, and the held-out loss of every seed."""


@dataclass(frozen=True)
class Study:
    """How long and how often."""

    seeds: int = 20
    steps: int = 2000
    batch_size: int = 256
    lr: float = 1e-2
    """At the first step; it falls to 0 along a line."""
    rows: int = 4096
    """Held out, per seed."""


class Tasks:
    """Two tasks per seed, and rows of them without end."""

    def __init__(self, seeds: int, correlation: float, sines: int = SINES) -> None:
        random = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(seeds, INPUTS, 2, generator=random))
        u1, u2 = basis.unbind(2)
        w2 = correlation * u1 + (1 - correlation**2) ** 0.5 * u2
        self.w = torch.stack([u1, w2], 2)
        self.a, self.b = torch.randn(2, seeds, 1, 1, sines, generator=random).unbind(0)
        self.random = random

    def draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Inputs `(seeds, rows, inputs)` and labels `(seeds, rows, 2)`."""
        x = torch.randn(len(self.w), rows, INPUTS, generator=self.random)
        linear = x @ self.w
        noise = NOISE * torch.randn(linear.shape, generator=self.random)
        return x, linear + (self.a * linear[..., None] + self.b).sin().sum(3) + noise


class Network(nn.Module):
    """A trunk and two towers: `(rows, inputs) -> (rows, 2)`."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.trunk = config.build([f"x{i}" for i in range(INPUTS)], ["first", "second"])
        self.towers = Towers(self.trunk.width, config.tower, [1, 1], 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.towers(self.trunk(x[:, :, None]))


def train(config: TrunkConfig, tasks: Tasks, study: Study) -> list[float]:
    """Held-out squared error, mean over both tasks, of every seed."""
    networks = []
    for seed in range(study.seeds):
        torch.manual_seed(seed)
        networks.append(Network(config))
    parameters, buffers = stack_module_state(networks)
    skeleton = networks[0]

    def loss(parameters: Mapping, buffers: Mapping, x: Tensor, y: Tensor) -> Tensor:
        return (functional_call(skeleton, (parameters, buffers), (x,)) - y).square().mean()

    step = vmap(grad_and_value(loss))
    optimizer = torch.optim.Adam(parameters.values(), lr=study.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, study.steps)
    for _ in range(study.steps):
        grads, _ = step(parameters, buffers, *tasks.draw(study.batch_size))
        for name, parameter in parameters.items():
            parameter.grad = grads[name]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return vmap(loss)(parameters, buffers, *tasks.draw(study.rows)).tolist()


def run(study: Study, correlations: Sequence[float], names: Sequence[str]) -> Results:
    """Every network on the same tasks at every correlation."""
    results: Results = {name: {} for name in names}
    pairs = [(name, p) for p in correlations for name in names]
    for name, p in track(pairs, "training"):
        results[name][p] = train(NETWORKS[name], Tasks(study.seeds, p), study)
    return results


def table_rows(results: Results) -> Iterator[tuple[str, float, int, float]]:
    """Network, correlation, seed, loss."""
    for name, by_correlation in results.items():
        for correlation, losses in by_correlation.items():
            yield from ((name, correlation, seed, loss) for seed, loss in enumerate(losses))


@matplotlib.rc_context(STYLE)
def picture(results: Results) -> Figure:
    """The loss of every network, and what each saves over shared-bottom on the same tasks; medians
    and quartiles over seeds, since a seed may not learn at all."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    correlations = list(results["shared_bottom"])
    reference = losses(results, "shared_bottom")
    for name in results:
        errors = losses(results, name)
        draw(left, correlations, errors, name)
        if name != "shared_bottom":
            draw(right, correlations, 1 - errors / reference, name)
    left.set(title="Held-out squared error", xlabel="correlation of the tasks", ylim=(0, None))
    right.set(title="Error saved over shared_bottom", xlabel="correlation of the tasks")
    right.axhline(0, color=INK, linewidth=1)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (left, right):
        axes.invert_xaxis()
        axes.legend(loc="best")
    return figure


def draw(axes: Axes, x: Sequence[float], values: Tensor, name: str) -> None:
    """Median over seeds of `values (correlations, seeds)`; quartiles beside each other."""
    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75]), 1)
    place = list(NETWORKS).index(name)
    color, beside = PALETTE[place], torch.tensor(x) + 0.012 * (place - 1)
    ends = torch.stack([middle - low, high - middle])
    axes.errorbar(beside, middle, ends, marker="o", markersize=4, color=color, label=name)


def losses(results: Results, name: str) -> Tensor:
    """`(correlations, seeds)`."""
    return torch.tensor(list(results[name].values()))


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks of each kind.")] = Study.seeds,
    output: Annotated[Path, typer.Option(help="Folder of the picture and the table.")] = DOCS,
) -> None:
    """Train shared-bottom, OMoE and MMoE on two tasks, from unrelated to the same."""
    results = run(Study(seeds=seeds), CORRELATIONS, list(NETWORKS))
    with (output / "mmoe_study.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("network", "correlation", "seed", "loss"))
        writer.writerows(table_rows(results))
    save(picture(results), output / "mmoe_study.png")


if __name__ == "__main__":
    typer.run(main)
