"""The generated logs that are timed: as wide as a common click log, uniform ids, planted labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figure import Figure
from fulcrum.pipelines.config.run import RunConfig

IDS, NUMBERS = 26, 13
TASKS = ("click", "like", "buy", "share", "follow")
"""Of which the first three are learned unless a benchmark asks for more."""
USER = "id_00"


@dataclass(frozen=True)
class Size:
    """How much is timed."""

    rows: int = 2**20
    values: int = 99_998
    """Distinct values of each id; null and unknown make it 100,000 rows in each table."""
    batch_size: int = 4096
    steps: int = 32
    """Of training in each round."""
    rounds: int = 3
    """Each runs everything that is compared, side by side."""
    repeats: int = 2
    """Rounds of what takes long: preparation, scoring of files."""


def ready(folder: Path, size: Size) -> list[Figure]:
    """Write the logs unless they are there; nothing is timed."""
    if not (folder / "logs.parquet").exists():
        write_logs(folder, size)
    return []


def write_logs(folder: Path, size: Size) -> None:
    """One row per impression, a second apart: ids, numbers, labels. Every id occurs early."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for i in range(IDS):
        every, more = np.arange(size.values), size.rows - size.values
        ids = [random.permutation(every), random.integers(0, size.values, more)]
        columns[f"id_{i:02}"] = np.concatenate(ids)
    numbers = random.lognormal(size=(NUMBERS, size.rows)).astype(np.float32)
    chance = 1 / (1 + np.exp(1.5 - numbers[0] - (columns[USER] % 2)))
    columns |= {f"number_{i:02}": number for i, number in enumerate(numbers)}
    columns |= {task: random.random(size.rows) < chance / 2**i for i, task in enumerate(TASKS)}
    columns["time_ms"] = 1_700_000_000_000 + np.arange(size.rows) * 1000
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(folder / "logs.parquet", row_group_size=65_536)


def make_run(
    folder: Path,
    size: Size,
    *,
    looking_back: bool = False,
    tasks: int = 3,
    valid: float = 0,
    **train: Any,
) -> RunConfig:
    """26 tables of 16 columns, 13 numbers, binary tasks, MMoE with 6 experts of [256, 128]; when
    looking back, also three windows and a history of 50 events, of users with a hundred rows.

    The earlier half trains, less the share `valid` of all rows; the later half is scored."""
    features: dict[str, Any] = {f"id_{i:02}": {"kind": "categorical"} for i in range(IDS)}
    features |= {f"number_{i:02}": {"kind": "numeric"} for i in range(NUMBERS)}
    if looking_back:
        features |= {
            "seen": {"kind": "window", "key": "user", "statistic": "count"},
            "clicked": {"kind": "window", "key": "user", "statistic": "rate", "where": "click"}
            | {"over": "3d", "smoothing": 20},
            "bought": {"kind": "window", "key": "id_01", "statistic": "rate", "where": "buy"}
            | {"over": "3d", "smoothing": 20},
            "viewed": {"kind": "history", "key": "user", "length": 50, "attributes": ["id_01"]},
        }
    return RunConfig.model_validate(
        {
            "name": "benchmark",
            "workspace": str(folder / ("looking_back" if looking_back else "plain")),
            "data": {
                "events": str(folder / "logs.parquet"),
                "time": {"column": "time_ms", "unit": "ms"},
                "derive": {"user": f"{USER} % {max(size.rows // 100, 1)}"},
                "outcomes": TASKS[:tasks],
                "split": {"kind": "time", "valid": valid, "test": 0.5},
            },
            "features": features,
            "tasks": {task: {"kind": "binary", "label": task} for task in TASKS[:tasks]},
            "train": {"batch_size": size.batch_size, "epochs": 100, "early_stopping": None} | train,
        }
    )
