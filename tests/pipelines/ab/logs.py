"""Logs of tests with planted effects, and the experiments that read them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fulcrum.pipelines.ab.analysis.analyse import analyse
from fulcrum.pipelines.ab.analysis.facts import Facts
from fulcrum.pipelines.ab.log.experiment import Experiment

BEGAN = "2024-03-04"
HOUR = 3_600_000_000


def log(
    users: int = 2000,
    lift: float = 0.0,
    days: int = 7,
    before: int = 0,
    seed: int = 0,
    names: tuple[str, str] = ("control", "treatment"),
    favoured: float = 0.0,
) -> pl.DataFrame:
    """Rows of a test: who clicks often did so `before` days, too. Treatment clicks `lift` more, and
    shows item 0 in `favoured` of its rows whatever else it would have shown."""
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < 0.5
    taste = rng.beta(2, 6, users)
    rows = np.repeat(np.arange(users), rng.poisson(6 * (days + before) / 7, users) + 1)
    day = rng.integers(-before, days, len(rows)) if before else rng.integers(0, days, len(rows))
    during = day >= 0
    chance = taste[rows] + lift * (treated[rows] & during)
    began = np.datetime64(BEGAN, "us").astype(np.int64)
    time = began + day * 24 * HOUR + rng.integers(0, 24 * HOUR, len(rows))
    item = np.where(
        rng.random(len(rows)) < favoured * treated[rows], 0, rng.integers(0, 20, len(rows))
    )
    click = (rng.random(len(rows)) < chance).astype(float)
    return pl.DataFrame(
        {
            "user_id": rows,
            "arm": np.where(treated, names[1], names[0])[rows],
            "time": pl.Series(time).cast(pl.Datetime("us")),
            "click": click,
            "watch": click * rng.exponential(30, len(rows)),
            "country": np.array(["de", "fr", "jp"])[rows % 3],
            "instance": rows % 5,
            "item": item,
        }
    )


def experiment(**changes: Any) -> Experiment:
    """The test of `log`; keyword arguments replace keys of `analysis`."""
    analysis: dict[str, Any] = {
        "log": {"time": {"column": "time"}},
        "metrics": {"ctr": {"kind": "ratio", "numerator": "click", "role": "primary"}},
    }
    analysis |= changes
    return Experiment.model_validate(
        {
            "name": "shop",
            "arms": {"control": {"share": 0.5}, "treatment": {"share": 0.5}},
            "analysis": analysis,
        }
    )


def analysed(rows: pl.DataFrame, folder: Path, test: Experiment | None = None) -> Facts:
    """What is found in rows."""
    file = folder / "log.parquet"
    rows.write_parquet(file)
    return analyse([str(file)], test or experiment())
