"""Tensors of the Open Inference Protocol to rows and back."""

import json
import math
import struct

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.serving.http.body import TENSORS, Body
from fulcrum.serving.http.protocol import (
    decode,
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
    scores = pl.DataFrame({"click": [0.25, None]})
    answer = reply({"id": "q1"}, "ranker", "3", scores)
    assert answer == {
        "id": "q1",
        "model_name": "ranker",
        "model_version": "3",
        "outputs": [{"name": "click", "datatype": "FP32", "shape": [2], "data": [0.25, None]}],
    }
    assert "id" not in reply({"id": 5}, "ranker", "3", scores)


KINDS = {
    "INT8": [-(2**7), None],
    "UINT16": [2**16 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT64": [2**64 - 1],
    "FP16": [0.5, None],
    "FP32": [-0.25, None],
    "FP64": [1e300, None],
    "BOOL": [True, False],
    "BYTES": ["", "é", "long " * 99],
}


def packed(kind, values):
    """As Triton's client packs them."""
    if kind == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    code = {"B": "u", "F": "f", "U": "u", "I": "i"}[kind[0]]
    size = int(kind.lstrip("UINTFPBOL") or 8) // 8
    return np.array([math.nan if v is None else v for v in values], f"<{code}{size}").tobytes()


def binary(inputs, tail, **request):
    head = json.dumps({"inputs": inputs, **request}).encode()
    return Body(head + tail, TENSORS, json_bytes=len(head))


def sized(name, kind, size, **more):
    return {"name": name, "datatype": kind, "parameters": {"binary_data_size": size}} | more


def test_binary_tensors_say_what_their_data_would():
    inputs, tail = [{"name": "json", "datatype": "INT8", "data": [1]}], b""
    for kind, values in KINDS.items():
        part = packed(kind, [v for v in values if v is not None or kind[0] == "F"])
        inputs.append(sized(kind, kind, len(part)))
        tail += part
    request = decode(binary(inputs, tail, id="q"))
    assert request["id"] == "q"
    assert [tensor["data"] for tensor in request["inputs"]] == [
        [1],
        *([v for v in values if v is not None or kind[0] == "F"] for kind, values in KINDS.items()),
    ]


def test_binary_inputs_become_the_same_columns():
    inputs, tail = [], b""
    for name, (kind, data) in {
        "user": ("INT64", [1, 2]),
        "share": ("FP64", [0.5, None]),
        "name": ("BYTES", ["a", "b"]),
        "new": ("BOOL", [True, False]),
        "tags": ("BYTES", ["p", "q", "r", "s"]),
    }.items():
        part = packed(kind, data)
        shape = [2, 2] if name == "tags" else [2]
        inputs.append(sized(name, kind, len(part), shape=shape))
        tail += part
    frame = parse_inputs(decode(binary(inputs, tail)), COLUMNS)
    assert frame.schema == ROWS.schema
    assert frame["user"].to_list() == [1, 2]
    assert frame["share"].to_list() == [0.5, None]
    assert frame["tags"].to_list() == [["p", "q"], ["r", "s"]]


@pytest.mark.parametrize(
    ("inputs", "tail", "expected"),
    [
        ([sized("a", "INT8", 3)], b"ab", "binary_data_size: expected a number of bytes"),
        ([sized("a", "INT8", -1)], b"ab", "binary_data_size: expected a number of bytes"),
        ([sized("a", "INT8", True)], b"ab", "binary_data_size: expected a number of bytes"),
        ([sized("a", "INT8", 1)], b"ab", "no tensor has the last 1 bytes"),
        ([sized("a", "INT16", 3)], b"abc", "3 bytes are no whole number of INT16"),
        ([sized("a", "BOOL", 2)], b"\0\2", "a byte of 0 or 1"),
        ([sized("a", "WHAT", 1)], b"a", "no bytes stand for the datatype 'WHAT'"),
        ([sized("a", "BYTES", 5)], struct.pack("<I", 2) + b"a", "longer than the bytes"),
        ([sized("a", "BYTES", 3)], b"\0\0\0", "longer than the bytes"),
        ([sized("a", "BYTES", 5)], struct.pack("<I", 1) + b"\xff", "text 0 is not valid UTF-8"),
        ([sized("a", "INT8", 1, data=[1])], b"a", "both data and"),
        ([{"name": "a", "parameters": 3}], b"", r"inputs\[0\]: expected its parameters"),
    ],
)
def test_wrong_binary_tensors_are_named(inputs, tail, expected):
    with pytest.raises(DataError, match=expected):
        decode(binary(inputs, tail))


def test_outputs_are_binary_where_the_request_wants_that():
    scores = pl.DataFrame({"a": [0.25, None], "b": [0.5, 1.0]}, schema_overrides={"a": pl.Float32})
    flag = {"parameters": {"binary_data": True}}
    for request, names in (
        ({"parameters": {"binary_data_output": True}}, "ab"),
        ({"outputs": [{"name": "b", **flag}]}, "b"),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
            },
            "a",
        ),
    ):
        answer = reply(request, "ranker", "3", scores)
        size = int(answer.headers["inference-header-content-length"])
        assert answer.headers["content-type"] == "application/octet-stream"
        outputs = json.loads(answer.body[:size])["outputs"]
        tail = answer.body[size:]
        for output in outputs:
            values = scores[output["name"]].to_list()
            if output["name"] in names:
                part, tail = tail[: output["parameters"]["binary_data_size"]], tail[8:]
                numbers = np.frombuffer(part, "<f4").tolist()
                assert [None if math.isnan(n) else n for n in numbers] == values
            else:
                assert output["data"] == values
        assert tail == b""
    for wrong in ({"parameters": 1}, {"parameters": {"binary_data_output": 1}}):
        with pytest.raises(DataError, match="parameters"):
            reply(wrong, "ranker", "3", scores)


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
