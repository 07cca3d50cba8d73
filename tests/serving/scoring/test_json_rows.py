"""Rows from JSON: every type, and an error that names the field."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.errors import DataError
from fulcrum.serving.scoring import json_rows
from fulcrum.serving.scoring.json_rows import parse_columns, parse_rows

COLUMNS = {
    "user": pl.Int64(),
    "small": pl.UInt8(),
    "share": pl.Float32(),
    "name": pl.String(),
    "new": pl.Boolean(),
    "tags": pl.List(pl.String()),
    "day": pl.Date(),
    "at": pl.Datetime("ms"),
}
ROW = {
    "user": 7,
    "small": 255,
    "share": 0.5,
    "name": "Zoë",
    "new": True,
    "tags": ["a", None],
    "day": "2024-02-29",
    "at": "2024-02-29T12:00:00+02:00",
}


PARSED = pl.Schema({**COLUMNS, "day": pl.String(), "at": pl.String()})
"""What a time means is the model's to say."""


def test_a_row_becomes_typed_columns():
    frame = parse_rows([ROW, dict.fromkeys(COLUMNS)], COLUMNS)
    assert frame.schema == PARSED
    assert frame.row(0, named=True) == ROW
    assert frame.row(1) == (None,) * len(COLUMNS)


def test_other_fields_are_ignored_and_no_rows_are_fine():
    assert parse_rows([{**ROW, "outcome": {"deep": []}}], COLUMNS).height == 1
    assert parse_rows([], COLUMNS).schema == PARSED


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("user", "7", "expected a whole number, got a string"),
        ("user", 1.5, "expected a whole number"),
        ("user", True, "expected a whole number, got a boolean"),
        ("user", 2**63, "outside its range"),
        ("small", -1, "outside its range"),
        ("small", 256, "outside its range"),
        ("share", float("nan"), "expected a finite number"),
        ("share", float("-inf"), "expected a finite number"),
        ("share", 10**400, "expected a finite number"),
        ("share", False, "expected a number, got a boolean"),
        ("name", 3, "expected a string, got a number"),
        ("name", "\ud800", "not valid Unicode"),
        ("name", "a\0b", "holds a NUL character"),
        ("new", 1, "expected true or false"),
        ("tags", "a,b", "expected a list"),
        ("tags", [["a"]], "expected a string, got a list"),
        ("day", "yesterday", "expected a time in ISO 8601"),
        ("at", 1700000000, "expected a time in ISO 8601"),
        ("share", 1e39, "outside its range"),
    ],
)
def test_a_wrong_value_names_row_and_field(field, value, expected):
    with pytest.raises(DataError, match=rf"^rows\[1\]\.{field}: .*{expected}"):
        parse_rows([ROW, {**ROW, field: value}], COLUMNS)


def test_a_missing_field_is_named():
    row = {name: value for name, value in ROW.items() if name != "name"}
    with pytest.raises(DataError, match=r"^rows\[0\]\.name: missing"):
        parse_rows([row], COLUMNS)


@pytest.mark.parametrize("rows", [None, {}, "x", 3, [None], [[]], ["x"]])
def test_rows_must_be_a_list_of_objects(rows):
    with pytest.raises(DataError, match=r"^rows(\[0\])?: expected"):
        parse_rows(rows, COLUMNS)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.dates().map(str)
    | st.datetimes().map(str),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.fixed_dictionaries(dict.fromkeys(COLUMNS, JSON)))
def test_any_value_is_taken_or_refused(row):
    row = json.loads(json.dumps(row))
    try:
        frame = parse_rows([row], COLUMNS)
    except DataError:
        return
    assert frame.schema == PARSED
    assert all((frame[name][0] is None) == (row[name] is None) for name in COLUMNS)


TYPES = [
    *(pl.Int64(), pl.Int8(), pl.UInt8(), pl.UInt64(), pl.Float64(), pl.Float32(), pl.String()),
    *(pl.Boolean(), pl.Null(), pl.Date(), pl.Datetime("us"), pl.Time(), pl.Decimal(10, 2)),
]
TYPES += [pl.List(dtype) for dtype in TYPES] + [pl.Array(pl.Int8(), 2)]
WHOLE = [0, -1, 127, 128, 255, 256, 16777217, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400]
REAL = [-0.0, 3.0, 1e39, 1e308, float("nan"), float("inf"), 3.4028235e38, 3.40282351e38]
NUMBERS = st.sampled_from(WHOLE + REAL)
WORDS = st.sampled_from(["", "a", "é", "\0", "\ud800", "\udc00", "2024-02-29", "12:00", "1.5"])


def values(inner):
    return st.lists(inner, max_size=4) | st.lists(st.lists(inner, max_size=3), max_size=3)


@given(
    st.sampled_from(TYPES),
    values(NUMBERS | st.integers() | st.floats() | st.none())
    | values(WORDS | st.none())
    | values(st.booleans() | st.none())
    | values(JSON),
)
def test_a_column_at_once_is_its_values_one_by_one(dtype, column):
    def outcome():
        try:
            return parse_columns({"x": column}, {"x": dtype}, lambda name, i: f"{name}[{i}]")
        except DataError as error:
            return str(error)

    at_once = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_fits", lambda values, dtype: False)
        one_by_one = outcome()
    if isinstance(one_by_one, str):
        assert at_once == one_by_one
    else:
        assert_frame_equal(at_once, one_by_one, check_exact=True)
