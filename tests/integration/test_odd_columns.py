"""Columns that no feature can be made of: refused by name before anything is prepared, or used."""

from datetime import timedelta

import polars as pl
import pytest

from tests.integration.shop import make_events, write_shop

ROWS = 900
ODD = {
    "duration": pl.Series([timedelta(seconds=i % 7) for i in range(ROWS)]),
    "struct": pl.Series([{"a": i % 3} for i in range(ROWS)]),
    "lists": pl.Series([[[i % 3]] for i in range(ROWS)]),
    "bytes": pl.Series([bytes([i % 3]) for i in range(ROWS)]),
    "list": pl.Series([[i % 3] for i in range(ROWS)]),
}
USES = {
    "feature": "features.odd={kind: categorical}",
    "cross": "features.x={kind: cross, columns: [odd, device]}",
    "numeric": "features.odd={kind: numeric}",
    "key of a window": "features.w={kind: window, key: odd, statistic: count}",
    "group": "data.group=odd",
    "split": "data.split={kind: hash, key: odd}",
}


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A folder with the shop's files."""
    write_shop(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ODD)
def test_a_column_without_ids_is_refused_by_name(fulcrum, odd, kind, use):
    make_events().with_columns(ODD[kind].alias("odd")).write_parquet("odd.parquet")
    done = fulcrum("prepare", "shop.yaml", "--set", "data.events=odd.parquet", "--set", USES[use])
    assert done.code == 2, done
    assert "`odd` is " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["lists", "list"])
def test_lists_become_several_ids_one_level_deep(fulcrum, odd, kind):
    make_events().with_columns(ODD[kind].alias("odd")).write_parquet("odd.parquet")
    done = fulcrum(
        *("prepare", "shop.yaml", "--set", "data.events=odd.parquet"),
        *("--set", "features.odd={kind: multi}"),
    )
    assert done.code == (0 if kind == "list" else 2), done
    assert kind == "list" or "features.odd: column `odd` is List(List(Int64))" in done.stderr
