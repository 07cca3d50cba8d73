"""The search for what carries a mismatch: it names that, and else as little as it says."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fulcrum.pipelines.ab.analysis.validity import checks
from fulcrum.pipelines.ab.log.gather import gather
from fulcrum.pipelines.ab.log.staged import stage
from tests.pipelines.ab.logs import experiment

SAFARI = (pl.col("browser") == "safari") & (pl.col("arm") == "treatment")
TREATED = pl.col("arm") == "treatment"


def visits(users: int, seed: int = 0) -> pl.DataFrame:
    """Two rows a user, with a browser and an age of the user's own, and a page that changes."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(users), 2)
    browsers = rng.choice(["chrome", "firefox", "safari"], users, p=[0.6, 0.2, 0.2])
    return pl.DataFrame(
        {
            "user_id": who,
            "arm": np.where(rng.random(users) < 0.5, "control", "treatment")[who],
            "click": rng.integers(0, 2, len(who)),
            "browser": browsers[who],
            "age": rng.normal(40, 10, users)[who],
            "page": rng.integers(0, 5, len(who)),
        }
    ).with_columns(model=pl.col("arm") + "-model")


def sentence(rows: pl.DataFrame, folder: Path) -> str:
    rows.write_parquet(folder / "log.parquet")
    test = experiment(log={})
    units = gather(stage([str(folder / "log.parquet")], test, folder), test)
    [check] = [check for check in checks(units, test) if check.name == "sample ratio"]
    return check.sentence


def test_the_segment_that_carries_it_is_named(tmp_path: Path) -> None:
    lost = SAFARI & (pl.col("user_id") % 2 == 0)
    found = sentence(visits(6000).filter(~lost), tmp_path)
    assert "It sits in browser = safari: " in found
    assert "without these units the rest is as designed" in found


def test_what_is_lost_everywhere_is_said_to_be(tmp_path: Path) -> None:
    lost = TREATED & (pl.col("user_id") % 8 == 0)
    assert "carries it (smallest p " in sentence(visits(6000).filter(~lost), tmp_path)


def test_a_fair_deal_is_not_searched(tmp_path: Path) -> None:
    assert sentence(visits(6000), tmp_path).endswith("alarm below 0.001).")


def test_pages_and_models_are_no_properties_of_units(tmp_path: Path) -> None:
    """Browsers and ten ranges of ages and of ids are: 3 + 10 + 10 values of 3 columns."""
    lost = TREATED & (pl.col("user_id") % 8 == 0)
    assert "None of 23 values of 3 columns" in sentence(visits(6000).filter(~lost), tmp_path)


@pytest.mark.slow
def test_the_search_is_corrected_for_its_size(tmp_path: Path) -> None:
    """30 deals whose mismatch has nothing to do with any value: at 5 %, a value is named in no more
    than 5 of them (binomial, 99.8 %)."""
    lost = TREATED & (pl.col("user_id") % 5 == 0)
    logs = (visits(1500, seed).filter(~lost) for seed in range(30))
    assert sum("It sits in" in sentence(rows, tmp_path) for rows in logs) <= 5
