"""A feed with persistent users: a log to learn from and to analyse, and the truth behind it."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from rich import box
from rich.table import Table

from fulcrum.pipelines.ab.simulation.feed.behaviours import EXPECTED
from fulcrum.pipelines.ab.simulation.feed.life import (
    FeedConfig,
    Place,
    World,
    everyone,
    live,
    place,
)
from fulcrum.pipelines.ab.simulation.worlds.base import Progress, Simulated, WorldConfig

LOG, TRUTH = "log", "truth.json"


class FeedWorld(FeedConfig, WorldConfig):
    """Users come back every day, and recommenders are retrained every night on what was logged."""

    kind: Literal["feed"] = "feed"

    def simulate(self, folder: Path, progress: Progress) -> Simulated:
        """Write a log a day with KuaiRand's columns and `arm`, tables of users and videos, and
        `truth.json`: what launching the treatment would change, from two worlds without a test."""
        here = place(self)
        treatment = live(here, everyone(here, True), None, progress=_titled(progress, TREATED))
        control = live(here, everyone(here, False), None, progress=_titled(progress, CONTROL))
        (folder / LOG).mkdir()

        def keep(day: pl.DataFrame) -> None:
            day.write_parquet(folder / LOG / f"log_standard_{day['date'][0]}.parquet")

        test = live(here, here.treated, self.design, keep, _titled(progress, TEST))
        here.users.table.write_parquet(folder / "user_features.parquet")
        here.videos.table.write_parquet(folder / "video_features_basic.parquet")
        truth = _truth(here, treatment, control, test)
        (folder / TRUTH).write_text(json.dumps(truth, indent=2), encoding="utf-8")
        return Simulated(
            (_table(truth),),
            (_sentence(truth),),
            {
                f"{part}/{name}": numbers[part]
                for name, numbers in truth["metrics"].items()
                for part in ("effect", "bias")
            },
        )


TREATED, CONTROL, TEST = "all treated", "none treated", "the test"


def _titled(progress: Progress, what: str) -> Any:
    return lambda done, of: progress(what, done, of)


def _truth(here: Place, treatment: World, control: World, test: World) -> dict[str, Any]:
    """Means over the impressions of the test of what was to be expected of what was shown."""
    worlds = treatment.means[1], control.means[0], test.means[1], test.means[0]
    metrics = {
        name: {
            "control": c,
            "treatment": t,
            "effect": t - c,
            "in_the_test": test_t - test_c,
            "bias": (test_t - test_c) - (t - c),
        }
        for name, t, c, test_t, test_c in zip(
            EXPECTED, *map(np.ndarray.tolist, worlds), strict=True
        )
    }
    return {
        "design": here.config.design.design,
        "impressions": int(test.rows.sum()),
        "users": {
            "control": int((~here.treated).sum()),
            "treatment": int(here.treated.sum()),
        },
        "metrics": metrics,
    }


def _table(truth: dict[str, Any]) -> Table:
    title = f"What launching the treatment would change, and what {truth['design']} shows of it"
    grid = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
    for place_, heading in enumerate(("metric", *PARTS.values())):
        grid.add_column(heading, justify="right" if place_ else "left")
    for name, numbers in truth["metrics"].items():
        signed = ("effect", "in_the_test", "bias")
        cells = (f"{numbers[p]:{'+' if p in signed else ''}.4f}" for p in PARTS)
        grid.add_row(name, *cells)
    return grid


PARTS = {
    "control": "none treated",
    "treatment": "all treated",
    "effect": "true effect",
    "in_the_test": "arms of the test",
    "bias": "bias",
}
"""Key of `truth.json` to heading."""


def _sentence(truth: dict[str, Any]) -> str:
    users = truth["users"]
    return (
        f"{truth['impressions']:,} impressions of the test, by {users['control']:,} users in "
        f"control and {users['treatment']:,} in treatment. The bias holds which users were dealt "
        "to which arm, too; `kind: loop` plays many tests and tells the two apart."
    )
