"""What `prepare` tells beside the facts, each from a log that has one thing wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fulcrum.features.prepared.prepare import prepare
from fulcrum.testing.specs import make_spec

ROWS = 1000
SPLIT = {"kind": "order", "valid": 0.0, "test": 0.3}


def log() -> pl.DataFrame:
    random = np.random.default_rng(0)
    click = random.integers(0, 2, ROWS)
    return pl.DataFrame(
        {
            "line": np.arange(ROWS),
            "user": random.integers(0, 20, ROWS).astype(str),
            "price": random.normal(size=ROWS),
            "tags": random.choice(["a|b", "b", "c|a"], ROWS),
            "click": click,
            "seconds": np.where(click == 1, random.exponential(9, ROWS) + 1, 0),
        }
    )


PLAIN: dict[str, Any] = {
    "user": {"kind": "categorical"},
    "price": {"kind": "numeric"},
    "tags": {"kind": "multi", "separator": "|"},
}


def lines(
    folder: Path,
    features: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    rows: pl.DataFrame | None = None,
) -> list[str]:
    (log() if rows is None else rows).write_parquet(folder / "log.parquet")
    declared = {"events": str(folder / "log.parquet"), "split": SPLIT} | (data or {})
    tasks = {
        "click": {"kind": "binary", "label": "click"},
        "stay": {"kind": "regression", "label": "LEAST(seconds, 5)"},
    }
    declared.setdefault("known_before", ["seconds"])
    return prepare(make_spec(PLAIN | (features or {}), declared, tasks), folder).advice


def test_a_log_with_nothing_wrong_gets_none(tmp_path: Path) -> None:
    assert lines(tmp_path, data={"group": "user"}) == []


@pytest.mark.parametrize(
    ("name", "feature", "line"),
    [
        (
            "line",
            {"kind": "categorical"},
            "features.line: 100% of the test ids are unknown; drop it",
        ),
        ("line", {"kind": "categorical", "hash_buckets": 9}, None),
        ("one", {"kind": "expression", "sql": "7"}, "features.one: it is the same in every"),
        ("one", {"kind": "categorical", "column": "same"}, "features.one: it is the same in"),
        ("tags", {"kind": "multi", "separator": ","}, "features.tags: no value holds the sep"),
        ("tags", {"kind": "multi", "separator": ",", "max_length": 1}, None),
        (
            "paid",
            {"kind": "numeric", "column": "seconds"},
            "features.paid: alone it tells `click` "
            "(AUC 1.0000 in the test split); if it is known only after the event, list its column "
            "in `data.outcomes`",
        ),
        (
            "paid",
            {"kind": "numeric", "column": "seconds", "transform": "quantile"},
            "features.paid: alone it tells `stay`",
        ),
        (
            "code",
            {"kind": "expression", "sql": "click_code", "encode": "categorical"},
            "features.co",
        ),
        ("cost", {"kind": "numeric", "column": "minus"}, "features.cost: alone it tells `click`"),
    ],
)
def test_a_feature_that_is_rarely_meant(
    name: str, feature: dict[str, Any], line: str | None, tmp_path: Path
) -> None:
    rows = log().with_columns(
        same=pl.lit("x"),
        click_code=pl.when(pl.col("click") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")),
        minus=-(pl.col("seconds").clip(upper_bound=5) + pl.col("price") / 1000),
    )
    advice = lines(tmp_path, {name: feature}, rows=rows)
    assert [one[: len(line or "")] for one in advice] == ([] if line is None else [line])


def test_exact_repeats_are_counted(tmp_path: Path) -> None:
    rows = pl.concat([log(), log()[:123], log()[:7]])
    [line] = lines(tmp_path, rows=rows)
    assert line.startswith(f"data: {123 + 7} rows say exactly what another one says")
    assert lines(tmp_path, data={"deduplicate": True}, rows=rows) == []
    data = {"where": "line >= 100"}
    [line] = lines(tmp_path, data=data, rows=rows)
    assert line.startswith(f"data: {123 - 100} rows say exactly")


def test_rows_of_nobody_are_counted(tmp_path: Path) -> None:
    rows = log().with_columns(
        user=pl.when(pl.col("line") % 10 == 0).then(pl.lit("")).otherwise("user")
    )
    [line] = lines(tmp_path, data={"group": "user"}, rows=rows)
    assert line.startswith(f"data.group: {ROWS // 10} of 1,000 rows name nobody in `user`")


def test_values_that_change_places_make_another_row(tmp_path: Path) -> None:
    rows = log().with_columns(left="line", right=ROWS - 1 - pl.col("line")).drop("line")
    changed = rows.rename({"left": "right", "right": "left"}).select(rows.columns)
    assert lines(tmp_path, rows=pl.concat([rows, changed])) == []
