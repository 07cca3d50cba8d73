"""What `fulcrum train` takes besides its steps and evaluations, and where that goes."""

import gc
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figure import Figure
from benchmarks.logs import Size, make_run, write_logs
from fulcrum.pipelines.config.load import to_yaml

ROWS = 2**16
"""Of the log: half of them are trained on or validated, an epoch of seconds."""
AIM = 12.0
"""Seconds besides the steps and the evaluations."""
TRAIN = "`fulcrum train` besides its steps and evaluations"
IMPORTS, WORK, REST = "imports", "steps and evaluations", "the rest"
PARTS = {
    "fulcrum.pipelines.runs.run:prepare_dataset": "preparation, done before",
    "fulcrum.pipelines.training.trainer:Trainer.run": WORK,
    "fulcrum.pipelines.training.trainer:Trainer._save": "checkpoints",
    "fulcrum.pipelines.runs.run:_look": WORK,
    "fulcrum.pipelines.runs.run:_by_model": WORK,
    "fulcrum.serving.publishing.export:export_graph": "graph",
    "fulcrum.serving.publishing.export:check_parity": "parity",
    "fulcrum.serving.publishing.registry:Registry.log": "model into MLflow",
    "fulcrum.pipelines.runs.run:draw": "figures",
}
"""What is timed; the time of one that runs inside another counts for the inner one alone."""

Seconds = dict[str, float]


def measure(folder: Path, size: Size) -> list[Figure]:
    """One epoch with evaluations, figures, export and registration, from a data set that is there,
    in processes of their own; the medians."""
    rows = min(size.rows, ROWS)
    small = replace(size, rows=rows, values=min(size.values, rows // 8))
    work = folder / "fixed_costs"
    write_logs(work, small)
    run = make_run(work, small, valid=0.1, epochs=1)
    store = run.tracking.model_copy(update={"uri": f"sqlite:///{work / 'mlflow.db'}"})
    config = work / "run.yaml"
    config.write_text(to_yaml(run.model_copy(update={"tracking": store})))
    _, *runs = [_train(config) for _ in range(size.repeats + 1)]
    besides = [seconds["wall"] - seconds[WORK] for seconds in runs]
    cpu = median(seconds["cpu"] for seconds in runs)
    told = f"{median(besides):.1f} s, of {median(r['wall'] for r in runs):.1f} s ({cpu:.1f} of CPU)"
    spread = f"{max(besides):.1f} to {min(besides):.1f} s"
    total = Figure(TRAIN, told, AIM / median(besides), f"{AIM:g} s", 1.0, spread)
    parts = (IMPORTS, *dict.fromkeys(PARTS.values()), REST)
    return [total, *(Figure(f"of it: {p}", f"{median(r[p] for r in runs):.1f} s") for p in parts)]


def _train(config: Path) -> Seconds:
    """Wall time by part, of the whole process, and its CPU time."""
    file = config.with_suffix(".json")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    arguments = ["-m", "benchmarks.fixed_costs", str(config), str(file)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    parts: Seconds = json.loads(file.read_text())
    return {**parts, REST: wall - sum(parts.values()), "wall": wall, "cpu": cpu}


def main(config: str, file: str) -> None:
    """`fulcrum train` with a clock in each part."""
    seconds: defaultdict[str, float] = defaultdict(float)
    inner: list[float] = []

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                passed = time.perf_counter() - start
                seconds[part] += passed - inner.pop()
                if inner:
                    inner[-1] += passed

        return run

    def put_clocks() -> None:
        for path, part in PARTS.items():
            module, _, name = path.partition(":")
            *owners, attribute = name.split(".")
            owner: Any = import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, attribute, timed(part, getattr(owner, attribute)))

    from fulcrum.pipelines.__main__ import GARBAGE, app

    gc.set_threshold(*GARBAGE)
    timed(IMPORTS, put_clocks)()
    app(["train", config], standalone_mode=False)
    Path(file).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
