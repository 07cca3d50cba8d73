"""Rows as an Arrow stream: bounded before anything is decoded, and checked before it is used.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
A stream may be small and mean much: compressed buffers, a text to which every row points, lists of
nothing. So compressed ones are refused, as compressed bodies are, and what the rows hold is counted
as if each had its own. No type is made from what a stream names: extensions count as their storage.
"""

import struct
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from fulcrum.features.cause import first_line
from fulcrum.features.errors import DataError, nearest

_PLAIN = (
    *(pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_decimal128),
)
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_LIST = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def read_stream(
    content: bytes,
    names: Collection[str],
    what: str,
    max_rows: int,
    max_bytes: int,
    others: Collection[str] = (),
) -> pl.DataFrame:
    """The columns `names` of a stream, and `others` where it has them. Raises DataError, which
    names the column, when that is not there, larger than allowed or of a type not taken, and when
    the content is no Arrow stream, or compressed."""
    try:
        table = _table(content, what, max_rows)
        there = table.column_names
        for name in names:
            if name not in there:
                raise DataError(f"{what} have no column `{name}`{nearest(name, there)}")
        return pl.DataFrame(_columns(table, {*names, *others}, what, max_bytes))
    except (
        *(pa.ArrowException, OSError, ValueError, struct.error, MemoryError),
        pl.exceptions.PolarsError,
    ) as error:
        raise DataError(f"{what}: not a valid Arrow stream: {first_line(error)[:200]}") from None


def write_stream(frame: pl.DataFrame, facts: Mapping[str, str]) -> bytes:
    """The frame as a stream, with `facts` in the metadata of its schema."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(facts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _table(content: bytes, what: str, max_rows: int) -> pa.Table:
    """Raises what pyarrow raises, and DataError."""
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(content)):
        if _is_compressed(message):
            raise DataError(f"{what}: the Arrow stream is compressed; send it without compression")
    with pa.ipc.open_stream(content) as stream:
        batches, rows = [], 0
        for batch in stream:
            rows += batch.num_rows
            if rows > max_rows:
                raise DataError(f"{what}: more than {max_rows} in one request")
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, stream.schema).unify_dictionaries()


def _columns(
    table: pa.Table, names: Collection[str], what: str, max_bytes: int
) -> Iterator[pl.Series]:
    """Raises what pyarrow and Polars raise, and DataError."""
    for name in dict.fromkeys(name for name in table.column_names if name in names):
        if len(table.schema.get_all_field_indices(name)) > 1:
            raise DataError(f"{what}: column `{name}` is there twice")
        column = table[name]
        if (weight := _weight(column)) is None:
            raise DataError(f"{what}: column `{name}` is {column.type}, which is not taken")
        if weight > max_bytes:
            raise DataError(f"{what}: column `{name}` holds more than {max_bytes} bytes")
        series = pl.Series(name, pl.from_arrow(column.cast(_anew(column.type))))
        if _has_nul(series):
            # SQLite ends a text there.
            raise DataError(f"{what}: column `{name}` holds a NUL character")
        yield series


def _anew(kind: pa.DataType) -> pa.DataType:
    """The type without what a stream says of the items of lists, from which Polars may make other
    types. Raises UnicodeDecodeError for a zone that is no text."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, kind.tz)
    if pa.types.is_list(kind):
        return pa.list_(_anew(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_anew(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_anew(kind.value_type), kind.list_size)
    return kind


def _is_compressed(message: pa.ipc.Message) -> bool:
    """`compression` of the record batch, field 3, in the message's FlatBuffer, which pyarrow has
    verified. https://github.com/apache/arrow/blob/main/format/Message.fbs"""
    if message.type not in ("record batch", "dictionary"):
        return False
    metadata = message.metadata.to_pybytes()

    def field(table: int, number: int) -> int | None:
        [back] = struct.unpack_from("<i", metadata, table)
        [size] = struct.unpack_from("<H", metadata, table - back)
        place = 4 + 2 * number
        [offset] = struct.unpack_from("<H", metadata, table - back + place) if place < size else [0]
        return table + offset if offset else None

    def follow(place: int | None) -> int:
        if place is None:
            raise ValueError("a message without a header")
        [offset] = struct.unpack_from("<I", metadata, place)
        return place + int(offset)

    batch = follow(field(follow(0), 2))
    if message.type == "dictionary":
        batch = follow(field(batch, 1))
    return field(batch, 3) is not None


def _weight(column: pa.ChunkedArray) -> int | None:
    """Bytes of text and items of lists in all rows together; None for types that are not taken."""
    total = 0
    for chunk in column.chunks or [pa.array([], column.type)]:
        if (weight := _weight_of(chunk)) is None:
            return None
        total += weight
    return total


def _weight_of(array: pa.Array, inside: bool = False) -> int | None:
    kind = array.type
    if any(is_kind(kind) for is_kind in _TEXT):
        return int(_lengths(array).sum())
    if pa.types.is_dictionary(kind) and any(is_kind(kind.value_type) for is_kind in _TEXT):
        lengths, places = _lengths(array.dictionary), array.indices.drop_null().to_numpy()
        return int(lengths.sum() + lengths[places].sum())
    if any(is_kind(kind) for is_kind in _LIST) and not inside:
        empty = pa.types.is_fixed_size_list(kind) and pa.types.is_null(kind.value_type)
        if empty:
            return None
        items = array.flatten()
        weight = _weight_of(items, inside=True)
        return None if weight is None else weight + len(items)
    return 0 if any(is_kind(kind) for is_kind in _PLAIN) else None


def _lengths(texts: pa.Array) -> np.ndarray:
    """In bytes. pyarrow counts none of views, each of which begins with its own."""
    if not pa.types.is_string_view(texts.type):
        return pc.binary_length(texts).fill_null(0).to_numpy().astype(np.int64)
    views = np.frombuffer(texts.buffers()[1] if len(texts) else b"", np.int32).reshape(-1, 4)
    return views[texts.offset : texts.offset + len(texts), 0].astype(np.int64)


def _has_nul(values: pl.Series) -> bool:
    if isinstance(values.dtype, pl.List | pl.Array):
        values = values.explode()
    if isinstance(values.dtype, pl.Categorical):
        values = values.unique().cast(pl.String)
    return values.dtype == pl.String and bool(values.str.contains("\0", literal=True).any())
