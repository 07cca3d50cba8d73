"""A value that an expression does not take is named with its row."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.features.prepared.prepare import prepare
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.raw.misfit import misfit
from fulcrum.testing.specs import make_spec

FEATURES = {"x": {"kind": "numeric"}}


def log(rows: int = 30, bad: int = 16) -> pl.DataFrame:
    place = pl.int_range(rows)
    return pl.select(
        x=place,
        key=pl.lit(1),
        s=pl.when(place == bad).then(pl.lit("n/a")).otherwise(place.cast(pl.String)),
        d=pl.when(place == bad).then(pl.lit("n/a")).otherwise(pl.lit("2026-01-02")),
        click=place % 2,
    )


@pytest.mark.parametrize(
    ("data", "features", "message"),
    [
        (
            {"derive": {"n": "CAST(s AS INT)"}},
            {"n": {"kind": "numeric"}},
            "data.derive.n: `CAST(s AS INT)` does not fit `n/a` in `s`; TRY_CAST gives null there "
            "(row 17 of ",
        ),
        (
            {"derive": {"n": "s::int", "m": "n + 1"}},
            {"m": {"kind": "numeric"}},
            "data.derive.n: `s::int` does not fit `n/a` in `s`; TRY",
        ),
        ({"derive": {"m": "d::date"}}, {"m": {"kind": "categorical"}}, "`n/a` in `d`; TRY"),
        ({}, {"m": {"kind": "expression", "sql": "x + s::int"}}, "features.m.sql: `x + s::int` "),
        (
            {},
            {"m": {"kind": "expression", "sql": "x + s::int"}},
            "does not fit `16` in `x` and `n/a` in `s`; TRY_CAST gives null there (row 17 of ",
        ),
        ({"where": "s::int > 1"}, {}, "data.where: `s::int > 1` does not fit `n/a` in `s`"),
        ({"weight": "s::double"}, {}, "data.weight: `s::double` does not fit `n/a` in `s`"),
        (
            {"derive": {"m": "strptime(d, '%Y-%m-%d')"}},
            {"m": {"kind": "categorical"}},
            "`strptime(d, '%Y-%m-%d')` does not fit `n/a` in `d` (row 17 of ",
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_value_and_its_row_are_named(
    data: dict[str, Any], features: dict[str, Any], message: str, suffix: str, tmp_path: Path
) -> None:
    """Row 17 is the seventh of the second file."""
    file = tmp_path / f"second.{suffix}"
    if suffix == "csv":
        log().write_csv(file)
    else:
        log()[:10].write_parquet(tmp_path / f"first.{suffix}")
        log()[10:].write_parquet(file)
    spec = make_spec(FEATURES | features, {"events": str(tmp_path / f"*.{suffix}")} | data)
    with pytest.raises(DataError) as error:
        prepare(spec, tmp_path)
    row = "row 17 of" if suffix == "csv" else "row 7 of"
    assert message.replace("row 17 of", row) in str(error.value)
    assert str(error.value).endswith(f"({row} {file})")


@given(rows=st.integers(1, 50), data=st.data())
def test_it_is_the_first_row_that_fails(rows: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, rows - 1), max_size=4))
    frame = pl.DataFrame({"s": ["n/a" if i in bad else str(i) for i in range(rows)]})
    spec = make_spec(FEATURES, {"derive": {"n": "CAST(s AS INT)"}})
    lineage = Lineage(spec.data, dict(frame.schema), {})
    fault = misfit(frame.lazy(), [(("data", "derive", "n"), "n")], lineage, {})
    assert (None if fault is None else fault[1]) == min(bad, default=None)
