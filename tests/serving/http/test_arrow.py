"""Arrow streams: what is taken, what is refused, and that a small one cannot mean much."""

import io
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.serving.http.arrow import read_stream, write_stream

ROWS, BYTES = 100, 10_000


def stream(table, batch_rows=None, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, batch_rows)
    return sink.getvalue()


def read(content, *names):
    return read_stream(content, [], "rows", ROWS, BYTES, names or ["x"])


def of(values, kind=None):
    return stream(pa.table({"x": pa.array(values, kind)}))


def shared(text, rows, kind=None):
    """The same text in every row, once in the stream."""
    dictionary = pa.array([text], kind)
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), dictionary)


def overlapping(text, rows):
    """Views of one text."""
    view = struct.pack("<i4sii", len(text), text[:4].encode(), 0, 0)
    buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(text.encode())]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


TAKEN = [
    (pa.int8(), [1, None], pl.Int8()),
    (pa.uint64(), [2**64 - 1, None], pl.UInt64()),
    (pa.float32(), [0.5, None], pl.Float32()),
    (pa.bool_(), [True, None], pl.Boolean()),
    (pa.null(), [None, None], pl.Null()),
    (pa.string(), ["é", None], pl.String()),
    (pa.large_string(), ["é", None], pl.String()),
    (pa.string_view(), ["a text longer than twelve", None], pl.String()),
    (pa.date32(), [date(2024, 2, 29), None], pl.Date()),
    (pa.time64("us"), [time(1), None], pl.Time()),
    (pa.timestamp("ms"), [datetime(2024, 1, 1), None], pl.Datetime("ms")),
    (pa.timestamp("us", "UTC"), [datetime(2024, 1, 1, tzinfo=UTC)], pl.Datetime("us", "UTC")),
    (pa.decimal128(4, 2), [Decimal("1.50"), None], pl.Decimal(4, 2)),
    (pa.list_(pa.string()), [["a", None], [], None], pl.List(pl.String())),
    (pa.large_list(pa.int64()), [[1], [], None], pl.List(pl.Int64())),
    (pa.list_(pa.int8(), 2), [[1, 2], None], pl.Array(pl.Int8(), 2)),
    (pa.list_(pa.null()), [[], None], pl.List(pl.Null())),
]


@pytest.mark.parametrize(("kind", "values", "dtype"), TAKEN, ids=str)
def test_a_column_is_read_as_it_is(kind, values, dtype):
    column = pa.array(values, kind)
    for table in (pa.table({"x": column}), pa.table({"x": column}).slice(1)):
        frame = read(stream(table, batch_rows=1))
        assert frame.schema == {"x": dtype}
        assert frame["x"].to_list() == table["x"].to_pylist()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_may_be_a_dictionary_another_one_in_each_batch(kind):
    parts = [["a", "b", "a"], [None, "c"], []]
    words = ["bca", "acb", "a"]
    columns = [
        pa.DictionaryArray.from_arrays(
            pa.array([text and word.index(text) for text in part], pa.int8()),
            pa.array(list(word), kind),
        )
        for part, word in zip(parts, words, strict=True)
    ]
    frame = read(stream(pa.table({"x": pa.chunked_array(columns)})))
    assert frame["x"].cast(pl.String).to_list() == [text for part in parts for text in part]


def test_what_polars_writes_is_read():
    categories = pl.Series("c", ["x", None], dtype=pl.Categorical)
    frame = pl.DataFrame([pl.Series("x", ["a" * 20, None]), categories])
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    assert read(sink.getvalue(), "x", "c").equals(frame)


def test_other_columns_are_left_alone():
    table = pa.table({"x": [1], "y": pa.array([{"deep": [[]]}]), "z": [b"\xff"]})
    assert read(stream(table)).columns == ["x"]
    assert read(stream(table), "w").columns == []
    with pytest.raises(DataError, match="rows have no column `xy`; did you mean"):
        read_stream(stream(table), ["xy"], "rows", ROWS, BYTES)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a valid Arrow stream"),
        (b"PAR1", "not a valid Arrow stream"),
        (of(["a"])[:-30], "not a valid Arrow stream"),
        (of(range(ROWS + 1)), f"more than {ROWS} in one request"),
        (of([b"a"]), "column `x` is binary, which is not taken"),
        (of([{"a": 1}]), "which is not taken"),
        (of([[["a"]]]), "which is not taken"),
        (of([[1]], pa.list_view(pa.int8())), "which is not taken"),
        (stream(pa.table([[1], [2]], ["x", "x"])), "column `x` is there twice"),
        (of(["a\0b"]), "holds a NUL character"),
        (of([["a", "\0"]]), "holds a NUL character"),
        (stream(pa.table({"x": shared("\0", 3)})), "holds a NUL character"),
    ],
)
def test_a_wrong_stream_is_told_why(content, expected):
    with pytest.raises(DataError, match=rf"^rows: .*{expected}"):
        read(content)


def text_that_is_none(rows):
    buffers = [
        None,
        pa.py_buffer(np.array([0, 1] * rows, np.int32)[: rows + 1]),
        pa.py_buffer(b"\xff"),
    ]
    return pa.Array.from_buffers(pa.string(), rows, buffers)


@pytest.mark.parametrize(
    "column",
    [
        text_that_is_none(1),
        text_that_is_none(2),
        pa.DictionaryArray.from_arrays(pa.array([7]), pa.array(["a"]), safe=False),
    ],
    ids=["encoding", "offsets", "index"],
)
def test_a_column_that_lies_is_no_valid_stream(column):
    with pytest.raises(DataError, match="not a valid Arrow stream"):
        read(stream(pa.table({"x": column})))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("column", [pa.array([0] * 90), shared("x" * 90, 90)], ids=["rows", "text"])
def test_compressed_buffers_are_refused(codec, column):
    content = stream(pa.table({"x": column}), compression=codec)
    with pytest.raises(DataError, match="compressed; send it without"):
        read(content)


@pytest.mark.parametrize(
    "column",
    [
        shared("x" * 1000, 11),
        shared("x" * 1000, 11, pa.string_view()),
        overlapping("x" * 1000, 11),
        pa.DictionaryArray.from_arrays(np.arange(1), overlapping("x" * 1000, 11)),
        pa.ListArray.from_arrays(pa.array([0, 2**30], pa.int32()), pa.nulls(2**30)),
        pa.FixedSizeListArray.from_arrays(pa.nulls(2**31 - 1), 2**31 - 1),
        pa.ListArray.from_arrays(pa.array([0, 11], pa.int32()), overlapping("x" * 1000, 11)),
    ],
    ids=["dictionary", "views in it", "views", "unused views", "nulls", "fixed nulls", "lists"],
)
def test_what_grows_beyond_the_limit_is_refused_before_it_does(column):
    content = stream(pa.table({"x": column}))
    assert len(content) < BYTES
    with pytest.raises(
        DataError, match=f"column `x` (holds more than {BYTES} bytes|is fixed_size)"
    ):
        read(content)


def test_no_extension_makes_an_object():
    """pyarrow once unpickled what such metadata held."""
    mark = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": b"\x80."}
    plain = pa.schema([pa.field("x", pa.string(), metadata=mark)])
    assert read(stream(pa.table([["a"]], plain)))["x"].to_list() == ["a"]
    polars = {"ARROW:extension:name": "POLARS_EXTENSION_TYPE", "ARROW:extension:metadata": "1;2"}
    fixed = pa.schema([pa.field("x", pa.binary(16), metadata=polars)])
    with pytest.raises(DataError, match="which is not taken"):
        read(stream(pa.table([[b"\1" * 16]], fixed)))
    inner = pa.schema([pa.field("x", pa.list_(pa.field("item", pa.int8(), metadata=polars)))])
    assert read(stream(pa.table([[[1]]], inner))).schema == {"x": pl.List(pl.Int8)}


VALID = stream(
    pa.table(
        {
            "x": pa.array(["a", "b", "a"]).dictionary_encode(),
            "y": pa.array([["a"], None, []]),
            "z": pa.array([1, 2, None]),
            "v": pa.array(["a text longer than twelve", "b", None], pa.string_view()),
        }
    ),
    batch_rows=2,
)


@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(VALID)),
)
def test_a_damaged_stream_is_read_or_refused(changes, stop):
    content = bytearray(VALID)
    for place, byte in changes:
        content[place] = byte
    for part in (bytes(content), bytes(content[:stop])):
        try:
            assert read(part, *"xyzv").height <= ROWS
        except DataError as error:
            assert str(error)


def test_answers_keep_values_and_facts():
    frame = pl.DataFrame({"key": ["a", None], "score": pl.Series([0.5, None], dtype=pl.Float32)})
    table = pa.ipc.open_stream(write_stream(frame, {"model": "m"})).read_all()
    assert table.schema.metadata == {b"model": b"m"}
    assert table.to_pylist() == [{"key": "a", "score": 0.5}, {"key": None, "score": None}]
