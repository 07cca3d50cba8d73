"""Open Inference Protocol, version 2: tensors of raw columns in, tensors of scores out.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
A column is a tensor of shape `[rows]`; a list column one of shape `[rows, length]`. `null` in the
data stands for a missing value, which the protocol itself does not know; so does NaN in its binary
extension, where tensors follow the JSON as bytes, little-endian:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from fastapi import Response

from fulcrum.features.errors import DataError
from fulcrum.serving.http.body import JSON_BYTES, TENSORS, Body, decode_object
from fulcrum.serving.http.body import reply as reply_json
from fulcrum.serving.scoring.json_rows import Columns, parse_columns

WHOLE = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
FLOATING = frozenset({"FP16", "FP32", "FP64"})


def datatype(dtype: pl.DataType) -> str:
    """The protocol's name for a column's type; text and times are BYTES."""
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        return datatype(inner() if isinstance(inner, type) else inner)
    if dtype.is_integer():
        return str(dtype).upper()
    if dtype.is_float():
        return "FP32" if dtype == pl.Float32 else "FP64"
    return "BOOL" if dtype == pl.Boolean else "BYTES"


def describe_inputs(columns: Columns) -> list[dict[str, Any]]:
    """The `inputs` of the model's metadata."""
    return [
        {"name": name, "datatype": datatype(dtype), "shape": _shape(dtype)}
        for name, dtype in columns.items()
    ]


def describe_outputs(scores: Sequence[str]) -> list[dict[str, Any]]:
    """The `outputs` of the model's metadata."""
    return [{"name": name, "datatype": "FP32", "shape": [-1]} for name in scores]


def decode(body: Body) -> dict[str, Any]:
    """An inference request. Tensors that follow its JSON as bytes have their values as `data`.

    Raises RequestError, and DataError naming the input."""
    if body.json_bytes is None:
        return body.decode()
    request = decode_object(body.content[: body.json_bytes])
    rest = memoryview(body.content)[body.json_bytes :]
    inputs = request.get("inputs")
    for i, tensor in enumerate(inputs if isinstance(inputs, list) else []):
        size = _parameters(tensor, f"inputs[{i}]").get("binary_data_size")
        if size is None:
            continue
        place = f"inputs[{i}].parameters.binary_data_size"
        if type(size) is not int or not 0 <= size <= len(rest):
            raise DataError(f"{place}: expected a number of bytes that are there ({len(rest)})")
        if "data" in tensor:
            raise DataError(f"inputs[{i}]: has both data and parameters.binary_data_size")
        tensor["data"] = _values(bytes(rest[:size]), str(tensor.get("datatype")), place)
        rest = rest[size:]
    if len(rest):
        raise DataError(f"inputs: no tensor has the last {len(rest)} bytes of the body")
    return request


def parse_inputs(request: Mapping[str, Any], columns: Columns) -> pl.DataFrame:
    """A frame with exactly `columns` from an inference request; other inputs are ignored.

    Raises DataError naming the input."""
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise DataError("inputs: expected a list of tensors")
    tensors: dict[str, Mapping[str, Any]] = {}
    for i, tensor in enumerate(inputs):
        name = tensor.get("name")
        if not isinstance(name, str):
            raise DataError(f"inputs[{i}].name: expected a string")
        if name in tensors:
            raise DataError(f"inputs: {name[:80]!r} is there twice")
        tensors[name] = tensor
    if missing := [name for name in columns if name not in tensors]:
        raise DataError(f"inputs: {missing[0]} is missing")
    values = {name: _column(tensors[name], name, dtype) for name, dtype in columns.items()}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
        raise DataError(f"inputs: every input must have the same number of rows, but {listed}")
    return parse_columns(values, columns, lambda name, i: f"inputs.{name}.data[{i}]")


def select_outputs(request: Mapping[str, Any], scores: Sequence[str]) -> list[str]:
    """The score columns that the request asks for; all when it does not say."""
    outputs = request.get("outputs")
    if outputs is None:
        return list(scores)
    if not isinstance(outputs, list) or not all(isinstance(tensor, dict) for tensor in outputs):
        raise DataError("outputs: expected a list of objects with a name")
    names = [tensor.get("name") for tensor in outputs]
    for i, name in enumerate(names):
        if name not in scores:
            raise DataError(f"outputs[{i}].name: {str(name)[:80]!r} is not one of {list(scores)}")
    return [str(name) for name in dict.fromkeys(names)]


def reply(
    request: Mapping[str, Any], model: str, version: str, scores: pl.DataFrame
) -> dict[str, Any] | Response:
    """The inference response; echoes the request's `id`. Scores that it wants as bytes follow the
    JSON, NaN where there is none."""
    binary = _binary_outputs(request, scores.columns)
    outputs: list[dict[str, Any]] = []
    tensors = []
    for data in scores:
        output = {"name": data.name, "datatype": "FP32", "shape": [len(data)]}
        if data.name in binary:
            tensors.append(data.fill_null(math.nan).to_numpy().astype("<f4").tobytes())
            outputs.append(output | {"parameters": {"binary_data_size": len(tensors[-1])}})
        else:
            outputs.append(output | {"data": data.to_list()})
    answer = {"model_name": model, "model_version": version, "outputs": outputs}
    if isinstance(request.get("id"), str):
        answer = {"id": request["id"], **answer}
    if not tensors:
        return answer
    head = reply_json(answer).body
    size = {JSON_BYTES: str(len(head))}
    return Response(b"".join([head, *tensors]), media_type=TENSORS, headers=size)


def _binary_outputs(request: Mapping[str, Any], scores: Sequence[str]) -> set[str]:
    """Scores that the request wants as bytes."""
    every = _flag(_parameters(request, "the request"), "binary_data_output", False)
    wanted = dict.fromkeys(scores, every)
    for i, output in enumerate(request.get("outputs") or []):
        parameters = _parameters(output, f"outputs[{i}]")
        wanted[output["name"]] = _flag(parameters, "binary_data", every)
    return {name for name, binary in wanted.items() if binary}


def _parameters(value: Any, place: str) -> Mapping[str, Any]:
    parameters = value.get("parameters", {}) if isinstance(value, dict) else {}
    if not isinstance(parameters, dict):
        raise DataError(f"{place}: expected its parameters as an object")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    flag = parameters.get(name, default)
    if not isinstance(flag, bool):
        raise DataError(f"parameters.{name}: expected true or false")
    return flag


def _values(data: bytes, kind: str, place: str) -> list[Any]:
    """What a tensor's bytes say."""
    if kind == "BYTES":
        return _texts(data, place)
    if kind == "BOOL":
        if data.strip(b"\0\1"):
            raise DataError(f"{place}: expected a byte of 0 or 1 for each value")
        return [bool(byte) for byte in data]
    if kind not in WHOLE | FLOATING:
        raise DataError(f"{place}: no bytes stand for the datatype {kind[:40]!r}")
    code = "u" if kind.startswith("U") else "i" if kind in WHOLE else "f"
    size = int("".join(c for c in kind if c.isdigit())) // 8
    if len(data) % size:
        raise DataError(f"{place}: {len(data)} bytes are no whole number of {kind}")
    values = np.frombuffer(data, f"<{code}{size}").tolist()
    return [None if value != value else value for value in values]


def _texts(data: bytes, place: str) -> list[str]:
    """Each in UTF-8 after its length in four bytes."""
    texts, start = [], 0
    while start < len(data):
        stop = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if stop > len(data):
            raise DataError(f"{place}: the last text is longer than the bytes that are left")
        try:
            texts.append(data[start + 4 : stop].decode())
        except UnicodeDecodeError:
            raise DataError(f"{place}: text {len(texts)} is not valid UTF-8") from None
        start = stop
    return texts


def _shape(dtype: pl.DataType) -> list[int]:
    return [-1, -1] if isinstance(dtype, pl.List | pl.Array) else [-1]


def _column(tensor: Mapping[str, Any], name: str, dtype: pl.DataType) -> list[Any]:
    sent, expected = tensor.get("datatype"), datatype(dtype)
    family = next((names for names in (WHOLE, FLOATING) if expected in names), {expected})
    # A whole number may stand for a floating one, as it may in JSON.
    allowed = family | WHOLE if family is FLOATING else family
    if not isinstance(sent, str) or sent not in allowed:
        raise DataError(f"inputs.{name}.datatype: expected {expected}, got {str(sent)[:40]!r}")
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(data, list):
        raise DataError(f"inputs.{name}.data: expected a list")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise DataError(f"inputs.{name}.shape: expected a list of whole numbers")
    if isinstance(dtype, pl.List | pl.Array):
        return _lists(data, shape, name)
    if shape not in ([len(data)], [len(data), 1]):
        raise DataError(f"inputs.{name}.shape: expected [{len(data)}], got {str(shape)[:40]}")
    return data


def _lists(data: list[Any], shape: list[int], name: str) -> list[list[Any]]:
    """Rows of a two-dimensional tensor, flat or nested, without their nulls."""
    if len(shape) != 2:
        raise DataError(f"inputs.{name}.shape: expected [rows, length], got {str(shape)[:40]}")
    rows, length = shape
    if len(data) == rows and all(isinstance(row, list) for row in data):
        nested = data
    elif len(data) == rows * length and length:
        nested = [data[start : start + length] for start in range(0, len(data), length)]
    else:
        raise DataError(f"inputs.{name}.data: {len(data)} values do not fill {str(shape)[:40]}")
    return [[value for value in row if value is not None] for row in nested]
