"""One `transform`: for parts and wholes, before and after saving, with and without a past."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import DataError, StateError
from fulcrum.features.layout import BagInput, DenseInput, IdInput
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import transform
from fulcrum.testing.specs import encode, learn

FEATURES = {
    "user": {"kind": "categorical"},
    "item": {"kind": "categorical", "min_count": 2},
    "bucket": {"kind": "categorical", "column": "item", "hash_buckets": 3},
    "tags": {"kind": "multi", "separator": ","},
    "length": {"kind": "numeric", "transform": "log1p"},
    "third": {"kind": "numeric", "column": "length", "transform": "quantile", "buckets": 3},
    "pair": {"kind": "cross", "columns": ["user", "item"]},
    "half": {"kind": "expression", "sql": "length / 2"},
    "shown": {"kind": "window", "key": "user", "statistic": "count"},
    "ctr": {
        "kind": "window",
        "key": "item",
        "statistic": "rate",
        "where": "click = 1",
        "over": "3s",
        "smoothing": 2,
        "encode": {"transform": "raw"},
    },
    "seen": {"kind": "history", "key": "user", "length": 3, "attributes": ["item", "user"]},
    "liked": {
        "kind": "history",
        "key": "user",
        "where": "click = 1",
        "length": 2,
        "attributes": ["bucket"],
        "age": False,
    },
}
DATA = {
    "time": {"column": "t", "unit": "s", "earliest": "1970-01-01"},
    "outcomes": ["click"],
    "keys": ["user", "t"],
}
SCHEMA = {
    "user": pl.String,
    "item": pl.Int64,
    "tags": pl.String,
    "length": pl.Float64,
    "t": pl.Int64,
    "click": pl.Int8,
}

row = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["ann", "bob", None]),
        "item": st.none() | st.integers(0, 3),
        "tags": st.sampled_from(["a,b", "b", "", None]),
        "length": st.sampled_from([1.0, 2.5, 9.0, None, float("nan")]),
        "t": st.integers(0, 9),
        "click": st.integers(0, 1),
    }
)
logs = st.lists(row, min_size=2, max_size=20).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA))


def fitted(log: pl.DataFrame) -> FeatureState:
    return learn(log, FEATURES, data=DATA)


@settings(max_examples=15)
@given(logs, logs)
def test_every_input_is_what_the_layout_says(log: pl.DataFrame, rows: pl.DataFrame) -> None:
    state = fitted(log)
    encoded = encode(rows, state, log)
    sizes = {table.name: table.rows for table in state.layout.tables}
    assert encoded.columns == [source.name for source in state.layout.inputs]
    assert len(encoded) == len(rows)
    for source in state.layout.inputs:
        column = encoded[source.name]
        assert column.null_count() == 0
        if isinstance(source, DenseInput):
            assert column.dtype == pl.Float32
            assert column.is_finite().all()
            continue
        assert column.dtype == (pl.Int32 if isinstance(source, IdInput) else pl.List(pl.Int32))
        ids = column if isinstance(source, IdInput) else column.explode(empty_as_null=False)
        assert ids.is_between(0, sizes[source.table] - 1).all()
        if not isinstance(source, IdInput):
            assert (column.list.len() <= source.max_length).all()
    lengths = encoded.select(pl.col("^seen\\..*$").list.len())
    assert lengths["seen.item"].equals(lengths["seen.age"])
    assert lengths["seen.item"].equals(lengths["seen.user"])


@settings(max_examples=15)
@given(logs, st.data())
def test_a_row_is_encoded_alike_in_any_company_and_order(
    log: pl.DataFrame, data: st.DataObject
) -> None:
    state = fitted(log)
    whole = encode(log, state, log)
    places = data.draw(st.lists(st.integers(0, len(log) - 1), max_size=6))
    assert_frame_equal(encode(log[places], state, log), whole[places], check_exact=True)


@settings(max_examples=10)
@given(logs)
def test_a_saved_state_is_the_same_state(log: pl.DataFrame) -> None:
    state = fitted(log)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state.save(folder / "a")
        loaded = FeatureState.load(folder / "a")
        loaded.save(folder / "b")
        for file in folder.glob("a/**/*.*"):
            assert file.read_bytes() == (folder / "b" / file.relative_to(folder / "a")).read_bytes()
    assert loaded.layout == state.layout
    assert loaded.row_columns == state.row_columns
    assert_frame_equal(encode(log, loaded, log), encode(log, state, log), check_exact=True)


@settings(max_examples=10)
@given(logs)
def test_without_a_past_histories_are_empty_as_in_training(log: pl.DataFrame) -> None:
    state = fitted(log)
    alone = encode(log, state)
    nobody = encode(log, state, log.clear())
    assert_frame_equal(alone, nobody, check_exact=True)
    assert alone["seen.item"].list.len().sum() == 0
    first = log["t"] == log["t"].min()
    assert_frame_equal(alone.filter(first), encode(log, state, log).filter(first))


LOG = pl.DataFrame(
    [
        {"user": "ann", "item": 1, "tags": "a", "length": 1.0, "t": 0, "click": 1},
        {"user": "ann", "item": 2, "tags": "b", "length": None, "t": 1, "click": 0},
        {"user": "ann", "item": 1, "tags": None, "length": 2.0, "t": 2, "click": 1},
        {"user": "bob", "item": 2, "tags": "a", "length": 4.0, "t": 2, "click": 0},
    ],
    schema=SCHEMA,
)


def test_a_row_needs_no_outcome_and_no_column_that_nothing_reads() -> None:
    state = fitted(LOG)
    assert set(state.row_columns) == {"user", "item", "tags", "length", "t"}
    assert set(state.past_columns) == {"user", "item", "t", "click"}
    encode(LOG.select(*state.row_columns), state, LOG.select(*state.past_columns))


def test_histories_hold_ids_and_ages() -> None:
    state = fitted(LOG)
    encoded = encode(LOG, state, LOG)
    assert encoded["seen.item"].to_list() == [[], [2], [2, 3], []]
    assert encoded["seen.age"].to_list() == [
        [],
        [2 + 1],
        [2 + 2, 2 + 1],
        [],
    ]  # 1 s, then 2 s and 1 s
    assert [len(ids) for ids in encoded["liked.bucket"]] == [0, 1, 1, 0]


def test_a_smoothed_rate_falls_back_on_the_training_split() -> None:
    encoded = encode(LOG, fitted(LOG), LOG)
    base = 2 / 4
    wanted = [base, base, (1 + 2 * base) / (1 + 2), (0 + 2 * base) / (1 + 2)]
    assert encoded["ctr"].to_list() == pytest.approx(wanted)


def test_zero_rows_stay_zero_rows() -> None:
    state = fitted(LOG)
    encoded = encode(LOG.clear(), state, LOG)
    assert encoded.schema == encode(LOG, state, LOG).schema
    assert len(encoded) == 0
    assert all(len(array) == 0 for array in to_arrays(encoded, state.layout).values())


def test_columns_to_keep_are_carried_through() -> None:
    rows = LOG.with_columns(note=pl.Series(["p", "q", "r", "s"]))
    kept = transform(rows, fitted(LOG), LOG.lazy(), keep=["note", "t"])
    assert kept["note"].to_list() == ["p", "q", "r", "s"]
    assert kept["t"].to_list() == [0, 1, 2, 2]
    with pytest.raises(DataError, match="called like inputs"):
        transform(rows, fitted(LOG), keep=["user"])


def test_a_missing_column_is_named_with_its_neighbour() -> None:
    with pytest.raises(DataError, match="the rows have no column `user`; did you mean `users`"):
        encode(LOG.rename({"user": "users"}), fitted(LOG))
    with pytest.raises(DataError, match="the past events have no column `click`"):
        encode(LOG, fitted(LOG), LOG.drop("click"))


def test_other_types_are_cast_or_refused() -> None:
    state = fitted(LOG)
    other = LOG.with_columns(pl.col("item", "length").cast(pl.String), pl.col("t").cast(pl.Float64))
    assert_frame_equal(encode(other, state, LOG), encode(LOG, state, LOG))
    with pytest.raises(DataError, match="column `item` holds 'one' as String"):
        encode(LOG.with_columns(item=pl.lit("one")), state)


def test_a_state_is_readable_json_and_refused_when_damaged(tmp_path: Path) -> None:
    fitted(LOG).save(tmp_path)
    assert pl.read_parquet(tmp_path / "vocabularies" / "user.parquet").rows() == [
        ("ann", 3),
        ("bob", 1),
    ]
    text = (tmp_path / "state.json").read_text()
    (tmp_path / "state.json").write_text(text[: len(text) // 2])
    with pytest.raises(StateError, match="no readable feature state"):
        FeatureState.load(tmp_path)
    (tmp_path / "state.json").write_text(text.replace('"version": 1', '"version": 99', 1))
    with pytest.raises(StateError, match="another version"):
        FeatureState.load(tmp_path)
    with pytest.raises(StateError):
        FeatureState.load(tmp_path / "nowhere")


def _with_tables(tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    items = pl.DataFrame({"item": [1, 2, 5], "author": ["x", "y", "x"], "unused": [0, 0, 0]})
    authors = pl.DataFrame({"author": ["x", "y"], "fans": [10, 20]})
    items.write_parquet(tmp_path / "items.parquet")
    authors.write_csv(tmp_path / "authors.csv")
    data = DATA | {
        "tables": {
            "items": {"path": str(tmp_path / "items.parquet"), "key": "item"},
            "authors": {"path": str(tmp_path / "authors.csv"), "key": "author"},
        },
        "derive": {"fame": "fans * 2", "twice": "fame * 2"},
    }
    features = {
        "author": {"kind": "categorical"},
        "fame": {"kind": "numeric", "column": "twice", "transform": "raw"},
        "seen": {"kind": "history", "key": "user", "attributes": ["author"], "age": False},
        "famous": {
            "kind": "window",
            "key": "user",
            "statistic": "sum",
            "value": "fame",
            "encode": {"transform": "raw"},
        },
    }
    return features, data


def test_side_tables_are_joined_one_behind_the_other(tmp_path: Path) -> None:
    features, data = _with_tables(tmp_path)
    state = learn(LOG, features, data=data)
    rows = pl.DataFrame({"user": ["ann"] * 4, "item": [5, 2, 9, None], "t": [9] * 4})
    encoded = encode(rows, state, LOG)
    assert set(state.row_columns) == {"user", "item", "t"}
    assert state.tables["items"].columns == ["item", "author"]
    assert encoded["author"].to_list() == [2, 3, 0, 0]
    assert encoded["fame"].to_list() == [10 * 2 * 2, 20 * 2 * 2, 0, 0]
    assert encoded["seen.author"].to_list() == [[2, 3, 2]] * 4
    assert encoded["famous"].to_list() == [20 + 40 + 20] * 4


def test_a_key_that_repeats_in_a_side_table(tmp_path: Path) -> None:
    features, data = _with_tables(tmp_path)
    pl.DataFrame({"item": [1, 1, 2], "author": ["x", "y", "x"]}).write_parquet(
        tmp_path / "items.parquet"
    )
    with pytest.raises(DataError, match=r"data\.tables\.items: 1 values of the key `item`"):
        learn(LOG, features, data=data)


def test_a_column_in_two_places_is_refused_when_read(tmp_path: Path) -> None:
    features, data = _with_tables(tmp_path)
    with pytest.raises(DataError, match="`author` is in the events and in table `items`"):
        learn(LOG.with_columns(author=pl.lit("z")), features, data=data)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"kind": "categorical", "column": "usr"}, "no column `usr`; did you mean `user`"),
        ({"kind": "window", "key": "usr", "statistic": "count"}, "no column `usr`"),
        ({"kind": "history", "key": "usr", "attributes": ["user"]}, "no column `usr`"),
        ({"kind": "expression", "sql": "lenght + 1"}, "no column `lenght`; did you mean `length`"),
        ({"kind": "expression", "sql": "tags + 1"}, "does not fit its columns"),
    ],
)
def test_a_column_that_is_not_there_is_named(feature: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        learn(LOG, {"user": {"kind": "categorical"}, "f": feature}, data=DATA)


def test_a_condition_on_all_rows_holds_for_the_past(tmp_path: Path) -> None:
    features = {
        "shown": {
            "kind": "window",
            "key": "user",
            "statistic": "count",
            "encode": {"transform": "raw"},
        }
    }
    state = learn(LOG, features, data=DATA | {"where": "item = 1"})
    assert encode(LOG, state, LOG)["shown"].to_list() == [0, 1, 1, 0]


def test_arrays_are_padded_behind() -> None:
    state = fitted(LOG)
    encoded = encode(LOG, state, LOG)
    arrays = to_arrays(encoded, state.layout)
    assert list(arrays) == [source.name for source in state.layout.inputs]
    assert arrays["seen.item"].tolist() == [[-1, -1, -1], [2, -1, -1], [2, 3, -1], [-1, -1, -1]]
    for source in state.layout.inputs:
        wide = isinstance(source, BagInput) or hasattr(source, "max_length")
        assert arrays[source.name].shape == ((4, source.max_length) if wide else (4,))
        assert arrays[source.name].dtype == (
            "float32" if isinstance(source, DenseInput) else "int64"
        )


def test_how_rows_are_split_into_chunks_teaches_nothing() -> None:
    """To the last bit: a preparation that is repeated gives the same state."""
    random = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"user": random.integers(0, 9, 4000), "stay": random.lognormal(size=4000)}
    ).with_row_index("t")
    features = {
        "stayed": {"kind": "window", "key": "user", "statistic": "mean", "value": "stay"}
        | {"smoothing": 5}
    }
    tasks = {"stay": {"kind": "regression", "label": "stay"}}
    cuts = [*np.sort(random.choice(4000, 30)).tolist(), 4000]
    pieces = [rows[a:b] for a, b in pairwise([0, *cuts])]
    states = [
        learn(frame, features, data=DATA | {"outcomes": ["stay"], "keys": []}, tasks=tasks)
        for frame in (rows, pl.concat(pieces, rechunk=False))
    ]
    one, other = ((state.bases, state.layout, state.learned) for state in states)
    assert one == other
