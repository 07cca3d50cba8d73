"""Which rows a network takes where every task has fields of its own, and no others.

T  tasks, whose rows follow one another, B of each        N  networks side by side        S  inputs

A trunk gives every row an output for each task, of which that of the row's own task goes on. From
the last level back, an expert then takes the rows of those tasks that use it: `needs`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def needs(outputs: Tensor, visible: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """What a level computes for each task: experts `(T, E)` and inputs `(T, S)`, boolean.

    outputs  `(T, G)` which outputs a task uses; the gate of output g reads input g
    visible  `(G, E)` which experts an output is made of
    source   `(E,)` the input that an expert reads
    """
    experts = reached(outputs, visible)
    inputs = reached(experts, F.one_hot(source))
    inputs[:, : outputs.shape[1]] |= outputs[:, : inputs.shape[1]]
    return experts, inputs


def reached(used: Tensor, links: Tensor) -> Tensor:
    """`(T, X)` and what each X leads to, `(X, Y)`: `(T, Y)`, boolean."""
    return used.float() @ links.float() > 0


class TaskRows(nn.Module):
    """Runs N stacked networks, `x (T · B, 1 or S, inputs) -> (T · B, N, outputs)`, each on the rows
    of the tasks that it `takes (T, N)`; for all other rows it gives 0.

    `source (N,)` names the input that each reads. `network(x (sources, rows, inputs), networks) ->
    (networks, rows, outputs)` computes a slice of them: neighbours that take rows of as many tasks
    run together, and read together what is the same for them.
    """

    takes: Tensor
    reads: Tensor
    place: Tensor

    def __init__(self, takes: Tensor, source: Sequence[int]) -> None:
        super().__init__()
        reads: list[tuple[int, int]] = []
        self.runs: list[tuple[slice, int, int]] = []
        """Networks that run together, their inputs, and the tasks whose rows each takes."""
        for networks, inputs in _runs(takes, source):
            self.runs.append((networks, len(inputs), len(inputs[0][1])))
            reads += [(s, t) for s, tasks in inputs for t in tasks]
        self.register_buffer("takes", takes, persistent=False)
        self.register_buffer("reads", torch.tensor(reads).T.contiguous(), persistent=False)
        self.register_buffer("place", takes.T.flatten().nonzero()[:, 0], persistent=False)

    def forward(self, network: Callable[[Tensor, slice], Tensor], x: Tensor) -> Tensor:
        tasks, networks = self.takes.shape
        x = x.unflatten(0, (tasks, -1)).permute(2, 0, 1, 3)
        source, task = self.reads
        rows = x[source if len(x) > 1 else torch.zeros_like(source), task]
        parts, sizes = [], [inputs * count for _, inputs, count in self.runs]
        for (some, inputs, count), part in zip(self.runs, rows.split(sizes), strict=True):
            y = network(part.reshape(inputs, -1, part.shape[2]), some)
            parts.append(y.reshape(len(y) * count, -1, y.shape[2]))
        y = torch.cat(parts)
        h = y.new_zeros(networks * tasks, *y.shape[1:]).index_put((self.place,), y)
        return h.reshape(networks, -1, h.shape[2]).transpose(0, 1)

    def used(self, rows: int) -> Tensor:
        """Which of T · B rows each network takes: `(rows, N)`."""
        return self.takes[:, None].expand(-1, rows // len(self.takes), -1).flatten(0, 1)


def _runs(
    takes: Tensor, source: Sequence[int]
) -> Iterator[tuple[slice, list[tuple[int, tuple[int, ...]]]]]:
    """Neighbouring networks that run together, with their inputs: which, and the tasks whose rows
    of it are taken. As many networks read each input of a run."""
    tasks = [tuple(column.nonzero()[:, 0].tolist()) for column in takes.T]
    inputs = [(key, len(list(g))) for key, g in groupby(zip(source, tasks, strict=True))]
    first = 0
    for (rows, count), group in groupby(inputs, key=lambda i: (len(i[0][1]), i[1])):
        run = [key for key, _ in group]
        last = first + count * len(run)
        if rows:
            yield slice(first, last), run
        first = last


def task_rows(takes: Tensor, source: Sequence[int]) -> TaskRows | None:
    """None where every network takes all rows."""
    return None if takes.all() else TaskRows(takes, source)


def run(network: Callable[..., Tensor], x: Tensor, rows: TaskRows | None) -> Tensor:
    """Stacked networks on `x (batch, 1 or S, inputs) -> (batch, N, outputs)`."""
    if rows is not None:
        return rows(network, x)
    return network(x.transpose(0, 1)).transpose(0, 1)
