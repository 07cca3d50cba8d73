"""Open Inference Protocol, version 2: tensors of raw columns in, tensors of scores out.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
A column is a tensor of shape `[rows]`; a list column one of shape `[rows, length]`. `null` in the
data stands for a missing value, which the protocol itself does not know.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fulcrum.features.errors import DataError
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
    request: Mapping[str, Any], model: str, version: str, scores: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """The inference response; echoes the request's `id`."""
    outputs = [
        {"name": name, "datatype": "FP32", "shape": [len(data)], "data": list(data)}
        for name, data in scores.items()
    ]
    answer = {"model_name": model, "model_version": version, "outputs": outputs}
    return {"id": request["id"], **answer} if isinstance(request.get("id"), str) else answer


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
