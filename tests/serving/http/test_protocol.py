"""Tensors of the Open Inference Protocol to rows and back."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.serving.http.protocol import (
    describe_inputs,
    describe_outputs,
    parse_inputs,
    reply,
    select_outputs,
)

COLUMNS = {
    "user": pl.Int64(),
    "share": pl.Float64(),
    "name": pl.String(),
    "new": pl.Boolean(),
    "tags": pl.List(pl.String()),
}


def tensor(name, datatype, data, shape=None):
    return {
        "name": name,
        "datatype": datatype,
        "shape": [len(data)] if shape is None else shape,
        "data": data,
    }


def tensors(**changes):
    whole = {
        "user": tensor("user", "INT64", [1, None]),
        "share": tensor("share", "FP32", [0.5, 2]),
        "name": tensor("name", "BYTES", ["a", "b"], [2, 1]),
        "new": tensor("new", "BOOL", [True, False]),
        "tags": tensor("tags", "BYTES", ["p", "q", "r", None], [2, 2]),
    }
    return {"inputs": [t for t in {**whole, **changes}.values() if t is not None]}


ROWS = pl.DataFrame(
    {
        "user": [1, None],
        "share": [0.5, 2.0],
        "name": ["a", "b"],
        "new": [True, False],
        "tags": [["p", "q"], ["r"]],
    },
    schema=COLUMNS,
)


def test_tensors_become_rows():
    assert parse_inputs(tensors(), COLUMNS).equals(ROWS)


def test_lists_may_be_nested_and_other_inputs_are_ignored():
    nested = tensor("tags", "BYTES", [["p", "q"], ["r"]], [2, 2])
    request = tensors(tags=nested, more=tensor("more", "WHAT", [{}], "?"))
    assert parse_inputs(request, COLUMNS).equals(ROWS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"user": None}, "inputs: user is missing"),
        ({"user": tensor("user", "FP64", [1, 2])}, "inputs.user.datatype: expected INT64"),
        ({"user": tensor("user", "BYTES", ["1", "2"])}, "inputs.user.datatype: expected INT64"),
        ({"user": tensor("user", "INT64", [1, "2"])}, r"inputs.user.data\[1\]: expected a whole"),
        ({"user": tensor("user", "INT64", [1, 2], [3])}, "inputs.user.shape"),
        ({"user": tensor("user", "INT64", [1, 2], [-2])}, "inputs.user.shape"),
        ({"user": tensor("user", "INT64", [1, 2], [True])}, "inputs.user.shape"),
        ({"user": tensor("user", "INT64", [1])}, "user has 1, share has 2"),
        ({"user": {"name": "user", "datatype": "INT64", "shape": [1]}}, "inputs.user.data"),
        ({"user": {"name": None}}, r"inputs\[0\].name"),
        ({"copy": tensor("name", "BYTES", [])}, "'name' is there twice"),
        ({"tags": tensor("tags", "BYTES", ["p", "q"])}, "inputs.tags.shape: expected .rows, len"),
        ({"tags": tensor("tags", "BYTES", ["p"], [2, 2])}, "do not fill"),
        ({"tags": tensor("tags", "BYTES", [], [9**99, 0])}, "do not fill"),
    ],
)
def test_a_wrong_tensor_is_named(changes, expected):
    with pytest.raises(DataError, match=expected):
        parse_inputs(tensors(**changes), COLUMNS)


@pytest.mark.parametrize("inputs", [None, {}, [3], ["user"], [None]])
def test_inputs_must_be_tensors(inputs):
    with pytest.raises(DataError, match="expected a list of tensors"):
        parse_inputs({"inputs": inputs}, COLUMNS)


def test_metadata_and_requests_speak_of_the_same_types():
    described = {t["name"]: t for t in describe_inputs(COLUMNS)}
    assert {n: t["datatype"] for n, t in described.items()} == {
        "user": "INT64",
        "share": "FP64",
        "name": "BYTES",
        "new": "BOOL",
        "tags": "BYTES",
    }
    assert described["tags"]["shape"] == [-1, -1]
    assert described["user"]["shape"] == [-1]
    assert describe_outputs(["click"]) == [{"name": "click", "datatype": "FP32", "shape": [-1]}]


def test_outputs_are_selected_in_the_order_asked_for():
    scores = ["click", "long"]
    assert select_outputs({}, scores) == scores
    asked = {"outputs": [{"name": "long"}, {"name": "click"}, {"name": "long"}]}
    assert select_outputs(asked, scores) == ["long", "click"]
    for wrong in ([{"name": "like"}], [{}], ["click"], {}, [{"name": ["click"]}]):
        with pytest.raises(DataError, match="outputs"):
            select_outputs({"outputs": wrong}, scores)


def test_the_reply_echoes_the_id():
    answer = reply({"id": "q1"}, "ranker", "3", {"click": [0.25, None]})
    assert answer == {
        "id": "q1",
        "model_name": "ranker",
        "model_version": "3",
        "outputs": [{"name": "click", "datatype": "FP32", "shape": [2], "data": [0.25, None]}],
    }
    assert "id" not in reply({"id": 5}, "ranker", "3", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "datatype", "shape", "data", "user"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"inputs": st.lists(JSON, max_size=3), "outputs": JSON}))
def test_any_request_is_taken_or_refused(request):
    request = json.loads(json.dumps(request))
    for parse in (lambda: parse_inputs(request, COLUMNS), lambda: select_outputs(request, ["a"])):
        try:
            parse()
        except DataError as error:
            assert str(error)
