"""A small layout with every kind of input, and random rows for any layout."""

from collections.abc import Callable

import numpy as np
import torch

from fulcrum.features.layout import (
    BagInput,
    DenseInput,
    IdInput,
    Layout,
    SequenceInput,
    TableSpec,
    TaskSpec,
)
from fulcrum.features.reading.batch import PADDING, Batch, from_arrays

TASKS = (
    TaskSpec(name="click", kind="binary", rate=0.3),
    TaskSpec(name="buy", kind="binary", given="click", rate=0.06),
    TaskSpec(name="watch", kind="regression", transform="log1p", mean=2.0, std=1.5),
    TaskSpec(name="tab", kind="multiclass", classes=("a", "b", "c")),
    TaskSpec(name="like", kind="binary", rate=0.1),
)


def binary_tasks(count: int) -> tuple[TaskSpec, ...]:
    """Tasks t0, t1, ..."""
    return tuple(TaskSpec(name=f"t{t}", kind="binary", rate=0.5) for t in range(count))


def make_layout(tasks: tuple[TaskSpec, ...] = TASKS, histories: bool = True) -> Layout:
    """Ids, a bag, numbers; with histories also an id, a bag and two histories that share tables."""
    tables = {"user": 40, "tab_id": 5, "tags": 12}
    ids = [IdInput(name="user", table="user"), IdInput(name="tab_id", table="tab_id")]
    bags = [BagInput(name="tags", table="tags", max_length=4)]
    sequences: list[SequenceInput] = []
    if histories:
        tables |= {"item": 30, "author": 10, "viewed.age": 8, "liked.age": 8}
        ids += [IdInput(name="item", table="item"), IdInput(name="author", table="author")]
        bags += [BagInput(name="cart", table="item", max_length=3)]
        sequences += [
            SequenceInput(name=f"{h}.{a}", table=t, history=h, query=q, max_length=n)
            for h, n, attributes in (("viewed", 6, ("item", "author")), ("liked", 4, ("author",)))
            for a, t, q in (*((a, a, a) for a in attributes), ("age", f"{h}.age", None))
        ]
    return Layout(
        tables=tuple(TableSpec(name=name, rows=rows) for name, rows in tables.items()),
        ids=tuple(ids),
        bags=tuple(bags),
        dense=tuple(DenseInput(name=name) for name in ("age", "length", "rate")),
        sequences=tuple(sequences),
        tasks=tasks,
    )


def random_arrays(layout: Layout, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """One array per input. Row 0 has every list empty; lists of one history are equally long."""
    random = np.random.default_rng(seed)
    size = {table.name: table.rows for table in layout.tables}
    lengths: dict[str, np.ndarray] = {}
    arrays: dict[str, np.ndarray] = {}
    for source in layout.inputs:
        if isinstance(source, IdInput):
            arrays[source.name] = random.integers(0, size[source.table], rows)
        elif isinstance(source, DenseInput):
            arrays[source.name] = random.normal(size=rows).astype(np.float32)
        else:
            key = source.history if isinstance(source, SequenceInput) else source.name
            length = lengths.setdefault(key, random.integers(0, source.max_length + 1, rows))
            length[0] = 0
            ids = random.integers(0, size[source.table], (rows, source.max_length))
            ids[np.arange(source.max_length) >= length[:, None]] = PADDING
            arrays[source.name] = ids
    return arrays


def random_labels(layout: Layout, rows: int, seed: int = 1) -> np.ndarray:
    """Labels `(rows, tasks)` that fit each task's kind."""
    random = np.random.default_rng(seed)
    draw: dict[str, Callable[[TaskSpec], np.ndarray]] = {
        "binary": lambda task: random.integers(0, 2, rows),
        "regression": lambda task: random.exponential(10, rows),
        "count": lambda task: random.poisson(3, rows),
        "multiclass": lambda task: random.integers(0, len(task.classes), rows),
    }
    return np.stack([draw[task.kind](task) for task in layout.tasks], 1)


def random_batch(layout: Layout, rows: int, seed: int = 0) -> Batch:
    """Random rows, a fifth of the labels unobserved, uneven sample weights."""
    random = np.random.default_rng(seed + 100)
    return from_arrays(
        layout,
        random_arrays(layout, rows, seed),
        random_labels(layout, rows, seed + 1),
        random.random((rows, len(layout.tasks))) < 0.8,
        random.uniform(0.5, 2, rows),
    )


def plain_inputs(layout: Layout, arrays: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Arrays as the exported graph takes them."""
    return tuple(torch.from_numpy(arrays[source.name]) for source in layout.inputs)
