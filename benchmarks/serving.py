"""`python -m benchmarks.serving`: how long requests wait for `fulcrum serve`, on a shipped model
that looks at the past, under an open loop."""

import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from benchmarks.figure import Figure, limited, show
from benchmarks.load import CLIENTS, Answers, Load
from benchmarks.logs import Size
from benchmarks.service import fetch, serving
from benchmarks.shipped import FEEDBACK, KUAIRAND, ROOT, train
from fulcrum.features.files.source import scan
from fulcrum.pipelines.config.load import load as load_config
from fulcrum.pipelines.config.run import RunConfig

ROWS = (1, 50, 200, 500)
"""In a request."""
MEDIANS = {1: 5, 200: 12, 500: 25}
"""Aims for the median of a request with so many rows, in milliseconds."""
TAIL = 3
"""Aim for the 99th percentile, in medians."""
FEW = 100
"""Requests, of which fewer have no 99th percentile to hold to that."""
PER_CORE = {200: 60}
"""Aims for the requests of so many rows that a second of one core answers."""
SHARE = 0.7
"""Of what the service can answer, that the open loop asks for."""
SECONDS = 20
"""Of the open loop of each size."""
STAGES = ("parse", "past", "encode", "graph", "answer")
BODIES = 64
"""Different requests of one size."""
CANDIDATES = 20_000
"""The last rows of the log, from which requests are made."""


@dataclass(frozen=True)
class Run:
    """Of one size."""

    rows: int
    alone: Answers
    """One request after the other: nothing waits."""
    most: Answers
    """As much as the service can do."""
    open: Answers
    most_cpu: float
    """Seconds of CPU of the service for each request, at its most."""
    open_cpu: float
    elsewhere: float
    """Cores that other programs kept busy during the open loop: they take it from the service."""
    stages: dict[str, float]
    """Shares of the time inside the service; empty where it does not count them."""


def measure(folder: Path, size: Size) -> list[Figure]:
    """Of both shipped logs' models, each trained in `folder` where it is not yet."""
    place = folder / "shipped"
    return [each for config in (KUAIRAND, FEEDBACK) for each in figures(config, place, SECONDS / 2)]


def figures(config: str, folder: Path, seconds: float, more: Sequence[str] = ()) -> list[Figure]:
    """Of a shipped config's model; the open loop of each size takes `seconds`. `more` are arguments
    of `fulcrum serve`."""
    model = train(config, folder)
    run, title = load_config(ROOT / config), Path(config).parent.name
    history = str(ROOT / str(run.data.events))
    with serving(folder, "--model", model, "--history", history, *more) as (process, port):
        name = model.split("/")[1]
        columns = [c["name"] for c in json.loads(fetch(port, f"/v2/models/{name}"))["inputs"]]
        measured = [
            measure_rows(process, port, requests(run, columns, rows), rows, seconds)
            for rows in ROWS
        ]
    return [figure for each in measured for figure in tell(title, each)]


def requests(run: RunConfig, columns: Sequence[str], rows: int) -> list[bytes]:
    """What a ranker asks: one user at one instant, and as many different candidates as `rows`."""
    random = np.random.default_rng(0)
    log = scan(str(ROOT / str(run.data.events))).frame.select(columns).tail(CANDIDATES).collect()
    assert run.data.group is not None and run.data.time is not None
    context = [run.data.group, run.data.time.column]
    messages = []
    for user in random.integers(0, len(log), BODIES).tolist():
        chosen = log[random.choice(len(log), rows, replace=False).tolist()]
        same = log[[user] * rows].select(context)
        body = b'{"rows": %b}' % chosen.with_columns(same).write_json().encode()
        head = b"POST /score HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n"
        messages.append(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    return messages


def measure_rows(
    process: psutil.Process, port: int, messages: Sequence[bytes], rows: int, seconds: float
) -> Run:
    """Warm up, see how much the service can do, ask for less than that.

    Raises AssertionError when it answers no request well."""
    load = Load(port, messages)
    load.closed(CLIENTS, seconds / 10)
    alone = load.closed(1, seconds / 4)
    before = cpu_seconds(process)
    most = load.closed(CLIENTS, seconds / 4)
    assert most.rate > 0, f"no request of {rows} rows is answered well"
    between, stages = cpu_seconds(process), stage_seconds(port)
    others = cpu_seconds_elsewhere(process)
    answers = load.open(SHARE * most.rate, seconds)
    others = cpu_seconds_elsewhere(process) - others
    spent = {stage: s - stages[stage] for stage, s in stage_seconds(port).items()}
    return Run(
        rows,
        alone,
        most,
        answers,
        (between - before) / len(most.latencies),
        (cpu_seconds(process) - between) / len(answers.latencies),
        others / answers.seconds,
        {stage: s / sum(spent.values()) for stage, s in spent.items()},
    )


def cpu_seconds(process: psutil.Process) -> float:
    """Of the service and its workers so far."""
    family = [process, *process.children(recursive=True)]
    times = [member.cpu_times() for member in family]
    return sum(spent.user + spent.system for spent in times)


def cpu_seconds_elsewhere(process: psutil.Process) -> float:
    """Of all programs but the service and this client, since the machine was started."""
    whole = psutil.cpu_times()
    return whole.user + whole.nice + whole.system - cpu_seconds(process) - time.process_time()


def stage_seconds(port: int) -> dict[str, float]:
    """What the service spent so far, by stage; empty where it does not count that."""
    counter = r'^fulcrum_stage_seconds_total\{.*?stage="(\w+)".*?\} (\S+)$'
    lines = re.findall(counter, fetch(port, "/metrics").decode(), re.MULTILINE)
    seconds = dict.fromkeys(STAGES, 0.0) if lines else {}
    for stage, value in lines:
        seconds[stage] += float(value)
    return seconds


def tell(title: str, run: Run) -> list[Figure]:
    """The figures of one size."""
    what = f"{title}, {run.rows} {'row' if run.rows == 1 else 'rows'}"
    p50, p99, p999 = (1000 * run.open.quantile(share) for share in (0.5, 0.99, 0.999))
    aim, cores = MEDIANS.get(run.rows), PER_CORE.get(run.rows)
    shares = ", ".join(f"{s} {share:.0%}" for s, share in run.stages.items()) or "n/a"
    per_core = 1 / run.most_cpu
    each = f"{1000 * run.open_cpu:.1f} CPU ms each, {errors(run)} errors"
    alone = f"alone: p50 {1000 * run.alone.quantile(0.5):.1f} ms"
    count = len(run.open.latencies)
    steady = TAIL * p50 / p99 if count >= FEW else None
    tail = f"p99.9 {p999:.1f} ms of {count:,} requests"
    return [
        limited(f"{what}, p50", f"{p50:.1f} ms", aim and aim / p50, f"{aim} ms", alone),
        limited(f"{what}, p99", f"{p99:.1f} ms", steady, f"{TAIL} x p50", tail),
        limited(
            f"{what}, per core",
            f"{per_core:.1f} requests/s",
            cores and per_core / cores,
            f"{cores} requests/s",
            f"at most {run.most.rate:.1f} requests/s",
        ),
        Figure(
            f"{what}, load",
            f"{run.open.rate:.1f} requests/s, {run.rows * run.open.rate:,.0f} rows/s",
            spread=f"{each}, {run.elsewhere:.1f} cores busy elsewhere",
        ),
        Figure(f"{what}, shares", shares),
    ]


def errors(run: Run) -> int:
    return run.alone.errors + run.most.errors + run.open.errors


def main(
    more: Annotated[list[str] | None, typer.Argument(metavar="-- ARGUMENTS")] = None,
    quick: Annotated[
        bool, typer.Option(help="A smaller log, a few seconds for each size.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where the model is, or is trained and stays.")
    ] = None,
) -> None:
    """ARGUMENTS go to `fulcrum serve`, for example `-- --store events.db`."""
    config, seconds = (FEEDBACK, 4) if quick else (KUAIRAND, SECONDS)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) if folder is None else folder.absolute()
        measured = figures(config, place, seconds, more or ())
    show("over HTTP", measured)


if __name__ == "__main__":
    typer.run(main)
