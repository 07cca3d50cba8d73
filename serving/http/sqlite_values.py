"""Values of events as SQLite keeps them: whole numbers, floats and text; lists are JSON text."""

from collections.abc import Sequence

import polars as pl

Columns = dict[str, pl.DataType]
"""Types by name."""


def encode(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows and columns, of types that SQLite keeps."""
    return frame.select(_encoded(name, dtype) for name, dtype in frame.schema.items())


def _encoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        text = pl.struct(column).struct.json_encode()
        return pl.when(column.is_not_null()).then(text).alias(name)
    if dtype == pl.UInt64:
        return column.reinterpret(signed=True)
    if dtype.is_temporal():
        return column.to_physical()
    if dtype.is_integer() or dtype.is_float() or dtype == pl.Boolean:
        return column
    return column.cast(pl.String)


def decode(rows: Sequence[tuple[object, ...]], columns: Columns) -> pl.DataFrame:
    """Rows of encoded values with the types that they had."""
    schema = encode(pl.DataFrame(schema=columns)).schema
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(_decoded(name, dtype) for name, dtype in columns.items())


def _decoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        return column.str.json_decode(pl.Struct({name: dtype})).struct.field(name)
    if dtype == pl.UInt64:
        return column.reinterpret(signed=False)
    if dtype == pl.Null:
        return pl.lit(None, pl.Null).alias(name)
    return column.cast(dtype)
