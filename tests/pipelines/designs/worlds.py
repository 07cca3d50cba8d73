"""Logs of an A/B test whose law is known: what is shown is one of 20 cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs import LoggedRows
from fulcrum.pipelines.designs.base import BEFORE

CELLS = 20
NAMES = ("control", "treatment")


@dataclass(frozen=True)
class Known(LoggedRows):
    """Rows whose arms were dealt with a known probability, which stands for their share."""

    share: tuple[float, ...] = (0.5, 0.5)

    @property
    def shares(self) -> np.ndarray:
        return np.array(self.share)


def laws(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`f_C, f_T` `(20,)`: what each arm shows."""
    random = np.random.default_rng(seed)
    control, treatment = random.dirichlet(np.full(CELLS, 2.0), 2)
    return control, treatment


def chance(
    cell: np.ndarray, share: float, control: np.ndarray, treatment: np.ndarray
) -> np.ndarray:
    """`(n, 2)` the true P(arm | cell)."""
    mixture = share * treatment + (1 - share) * control
    e = (share * treatment / mixture)[cell]
    return np.stack([1 - e, e], 1)


def logged(arm: np.ndarray, chances: np.ndarray | None = None) -> LoggedRows:
    """Rows of the test, the first half of them for training."""
    of_test = chances[arm != BEFORE] if chances is not None else None
    return LoggedRows(NAMES, arm, np.arange(len(arm)) < len(arm) // 2, of_test)


def write_log(path: Path, rows: int = 2000, users: int = 100, before: int = 0) -> pl.DataFrame:
    """Users 0, 2, ... are in control, users 1, 3, ... in treatment, which shows odd items more
    often; the first rows are from before the test."""
    random = np.random.default_rng(0)
    user = random.integers(0, users, rows)
    treated = user % 2 == 1
    item = random.integers(0, 20, rows)
    item = np.where(treated & (random.random(rows) < 0.4), item // 2 * 2 + 1, item)
    click = random.random(rows) < 0.2 + 0.6 * (item % 3 == 0)
    arm = np.where(treated, "treatment", "control")
    log = pl.DataFrame(
        {
            "row": np.arange(rows),
            "t": np.arange(rows) * 10,
            "user_id": user,
            "item": item,
            "price": random.normal(size=rows),
            "click": click.astype(int),
            "watch": random.exponential(10, rows) * click,
            "trust": random.choice([0.5, 1.0, 2.0], rows),
            "arm": arm,
        }
    ).with_columns(arm=pl.when(pl.col("row") >= before).then("arm"))
    log.write_parquet(path)
    return log


def document(folder: Path, **changes: Any) -> dict[str, Any]:
    """A run over `log.parquet` of a folder, with its top-level keys replaced."""
    return {
        "name": "small",
        "workspace": str(folder / "work"),
        "data": {
            "events": str(folder / "log.parquet"),
            "time": {"column": "t", "unit": "s", "earliest": "1970-01-01"},
            "outcomes": ["click", "watch"],
            "keys": ["row"],
            "arms": {"column": "arm", "unit": "user_id"},
        },
        "features": {
            "item": {"kind": "categorical"},
            "price": {"kind": "numeric"},
            "pair": {"kind": "cross", "columns": ["item", "user_id"]},
            "user": {"kind": "categorical", "column": "user_id"},
        },
        "tasks": {
            "click": {"kind": "binary", "label": "click"},
            "watch": {"kind": "regression", "label": "watch", "transform": "log1p"},
        },
        "model": {"architecture": "shared_bottom", "hidden": [8], "tower": [4], "embedding_dim": 4},
        "experiment_design": {
            "arm": "treatment",
            "propensity": {"features": ["item", "price"], "kind": "logistic"},
        },
        "train": {"epochs": 2, "batch_size": 64, "precision": "fp32"},
        "tracking": {"uri": f"sqlite:///{folder}/store.db", "experiment": "small"},
    } | changes


def run(folder: Path, **changes: Any) -> RunConfig:
    return RunConfig.model_validate(document(folder, **changes))
