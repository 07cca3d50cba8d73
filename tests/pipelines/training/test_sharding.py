import re

import pytest
from torchrec.distributed.model_parallel import DistributedModelParallel

from fulcrum.features.errors import ResourceError
from fulcrum.features.layout import IdInput, Layout, TableSpec
from fulcrum.models.network import Network
from fulcrum.pipelines.training import memory
from fulcrum.pipelines.training.processes import process_group
from fulcrum.pipelines.training.sharding import distribute
from fulcrum.testing.layouts import binary_tasks
from tests.pipelines.small_runs import small_run

WIDTH = small_run().model.embedding_dim
ROW = 4 * (WIDTH + 1 + 2)
"""Bytes of a row, of what row-wise Adagrad keeps of it, and of two counts."""
SPARE = 2 << 20


def layout(**rows: int) -> Layout:
    return Layout(
        tables=tuple(TableSpec(name=name, rows=n) for name, n in rows.items()),
        ids=tuple(IdInput(name=name, table=name) for name in rows),
        tasks=binary_tasks(2),
    )


def build(**rows: int) -> DistributedModelParallel:
    run = small_run()
    with process_group() as process:
        return distribute(Network(layout(**rows), run.model), run.train, process)


def test_tables_beyond_this_machine_are_refused_before_they_are_made() -> None:
    with pytest.raises(ResourceError, match=r"`user`, has 10,000,000,000,000 rows of 8, 409,7"):
        build(user=10**13, item=100)


def test_the_rows_that_would_fit_do(monkeypatch: pytest.MonkeyPatch) -> None:
    cap = 1000 * ROW + SPARE
    monkeypatch.setattr(memory, "of_host", lambda process: cap)
    with pytest.raises(ResourceError) as refused:
        build(user=100_000, item=1000)
    message = str(refused.value)
    assert f"`user`, has 100,000 rows of {WIDTH}, {memory.as_text(100_000 * ROW)}" in message
    assert f"this process has {memory.as_text(cap)}" in message
    told = re.search(r"about ([\d,]+) would fit", message)
    assert told is not None
    rows = int(told[1].replace(",", ""))
    assert 0.8 * SPARE < rows * ROW < SPARE
    build(user=rows, item=1000)
