"""The arm and the unit of a row: from the log to prepared rows, and what is refused."""

import numpy as np
import polars as pl
import pytest

from fulcrum.features.errors import ConfigError, DataError
from fulcrum.features.prepared.manifest import fingerprint
from fulcrum.features.prepared.prepare import prepare
from fulcrum.testing.specs import make_spec

ARMS = {"column": "arm", "unit": "user_id"}
LOG = pl.DataFrame(
    {
        "user_id": [1, 2, 3, 4, 1, 2, 3, 4, 5, 6],
        "item": ["a", "b"] * 5,
        "click": [0, 1, 1, 0, 1, 0, 0, 1, 0, 1],
        "arm": ["A", "B", "A", "B", "A", "B", "A", "B", None, None],
    }
)


def made(folder, log=LOG, arms=ARMS, **data):
    log.write_parquet(folder / "log.parquet")
    split = {"kind": "order", "valid": 0, "test": 0.4}
    data = {"events": str(folder / "log.parquet"), "split": split, "arms": arms} | data
    return prepare(make_spec({"item": {"kind": "categorical"}}, data), folder / "work")


def rows(dataset):
    return pl.read_parquet([shard for s in ("train", "test") for shard in dataset.shards(s)])


def test_prepared_rows_keep_arm_and_unit_as_text(tmp_path):
    kept = rows(made(tmp_path))
    assert kept["row.arm"].to_list() == LOG["arm"].to_list()
    assert kept["row.unit"].to_list() == [str(user) for user in LOG["user_id"]]


def test_arms_may_be_numbers_or_derived(tmp_path):
    number = made(tmp_path, LOG.with_columns(arm=pl.col("arm") == "B"))
    assert rows(number)["row.arm"].unique().sort().to_list() == [None, "false", "true"]
    derive = {"which": "CASE WHEN arm = 'A' THEN 0 WHEN arm = 'B' THEN 1 END"}
    derived = made(tmp_path, arms={"column": "which", "unit": "user_id"}, derive=derive)
    assert rows(derived)["row.arm"].unique().sort().to_list() == [None, "0", "1"]


def test_without_arms_rows_and_fingerprints_are_what_they_were(tmp_path):
    dataset = made(tmp_path, arms=None)
    assert not {"row.arm", "row.unit"} & set(rows(dataset).columns)
    with_arms, without = (
        make_spec({"item": {"kind": "categorical"}}, d) for d in ({"arms": ARMS}, {})
    )
    assert "arms" not in without.model_dump(mode="json")["data"]
    assert fingerprint(with_arms, []) != fingerprint(without, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"arm": pl.Series(["A", "B", "B", "B", "B", *["A"] * 5])},
            "4 units are in several arms (`1` in A, B; `2` in A, B; `3` in A, B); expected one arm "
            "for each `user_id`",
        ),
        ({"arm": pl.lit("A")}, "data.arms.column: `arm` holds only `A`; expected two arms"),
        ({"arm": pl.lit(None, pl.String)}, "`arm` holds only nulls; expected two arms"),
        (
            {"user_id": pl.Series([None, *range(9)], dtype=pl.Int64)},
            "data.arms.unit: `user_id` names nobody (null, NaN or empty) in 1 rows of an arm",
        ),
        (
            {"user_id": pl.Series(["", "", *"abcdefgh"])},
            "data.arms.unit: `user_id` names nobody (null, NaN or empty) in 2 rows of an arm",
        ),
        ({"arm": pl.lit("")}, "`arm` holds only nulls; expected two arms"),
    ],
)
def test_arms_that_are_none_are_refused(change, message, tmp_path):
    with pytest.raises(DataError) as error:
        made(tmp_path, LOG.with_columns(**change))
    assert message in str(error.value)
    assert list((tmp_path / "work" / "prepared").iterdir()) == []


def test_rows_that_where_leaves_out_cross_nobody(tmp_path):
    crossed = LOG.with_columns(
        arm=pl.when(pl.col("user_id") != 1)
        .then("arm")
        .otherwise(pl.Series(np.where(np.arange(10) == 0, "A", "B")))
    )
    with pytest.raises(DataError, match="1 units are in several arms"):
        made(tmp_path, crossed)
    assert rows(made(tmp_path, crossed, where="user_id <> 1"))["row.unit"].to_list() == list(
        "23423456"
    )


def test_a_column_that_is_not_there_is_told_with_its_place(tmp_path):
    with pytest.raises((ConfigError, DataError)) as error:
        made(tmp_path, arms={"column": "amr", "unit": "user_id"})
    assert "data.arms.column: there is no column `amr`; did you mean `arm`?" in str(error.value)


def test_rows_of_a_ramp_know_their_window(tmp_path):
    days = [f"2024-03-{day:02}" for day in range(1, 11)]
    arms = ARMS | {"changes": ["2024-03-04", "2024-03-08T00:00Z"]}
    log = LOG.with_columns(at=pl.Series(days))
    dataset = made(tmp_path, log, arms, time={"column": "at"})
    assert rows(dataset)["row.window"].to_list() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    with pytest.raises(DataError, match=r"data\.arms\.changes\.0: 'soon' is no time"):
        made(tmp_path, log, ARMS | {"changes": ["soon"]}, time={"column": "at"})
    with pytest.raises(ConfigError, match=r"data\.arms\.changes: needs `data\.time`"):
        made(tmp_path, log, arms)
