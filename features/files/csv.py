"""Text files of columns: their dialect, their first line, their types."""

import csv as text_rows
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import polars as pl
from polars.exceptions import ComputeError

from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.errors import DataError
from fulcrum.features.files.paths import separator

_SEPARATORS = ",;\t|"
_VALUE = re.compile(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?|\d{4}-\d\d-\d\d.*")
"""What a column is hardly called: a number or a date."""
_START = 1000
"""Bytes in which UTF-16 has zeros, which other text has not."""

# Polars reads values of any length; the default is 128 KiB.
text_rows.field_size_limit(2**31 - 1)


def scan_csv(
    file: Path, csv: CsvConfig, types: Mapping[str, pl.DataType] | None = None
) -> pl.LazyFrame:
    """All columns; with `types`, which name every column, nothing is inferred."""
    options: dict[str, Any] = (
        {"infer_schema_length": None} if types is None else {"schema_overrides": dict(types)}
    )
    if csv.header is not None:
        options |= {"has_header": False, "new_columns": list(csv.header)}
    return _scan(file, csv, **options)


def dialect(file: Path, csv: CsvConfig, what: str) -> CsvConfig:
    """The dialect of a file whose first line may name the columns although others' do not."""
    if csv.header is not None and set(_first_line(file, csv, what)) <= set(csv.header):
        return csv.model_copy(update={"header": None})
    return csv


def csv_schema(
    file: Path, csv: CsvConfig, names: Collection[str], what: str
) -> dict[str, pl.DataType]:
    """Types by column: Int64, Int128, Float64, Boolean, or String for all else.

    `names` are the columns that somebody reads. Raises DataError for text of another encoding or
    separator, a first line that is no header, and a line with more or fewer values than others.
    """
    with _readable(file, what):
        try:
            row = _first_line(file, csv, what)
            _check_separator(file, row, csv, what)
            if csv.header is None:
                _check_header(file, row, csv, names, what)
            elif len(row) != len(csv.header):
                raise DataError(
                    f"{what}: {file} has {len(row)} columns; expected {len(csv.header)}, as "
                    f"`csv: {{header: [...]}}` names"
                )
            schema = dict(scan_csv(file, csv).collect_schema())
            may_be = _may_be_ragged(file, csv, len(row))
            ragged = _ragged(file, csv, len(row), what) if may_be else None
        except (ComputeError, UnicodeError) as error:
            raise (
                _undecodable(file, csv, what) or _ragged(file, csv, len(row), what) or error
            ) from None
    if ragged is not None:
        raise ragged
    return schema


def _first_line(file: Path, csv: CsvConfig, what: str) -> list[str]:
    """By itself: with another separator than the file's, the lines below need not make sense."""
    with _readable(file, what):
        try:
            return next((values for _, values in _lines(file, csv)), [])
        except UnicodeError as error:
            raise _undecodable(file, csv, what) or error from None


@contextmanager
def _readable(file: Path, what: str) -> Iterator[None]:
    """Raises DataError for what is cut off or damaged."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, text_rows.Error) as error:
        raise DataError(f"{what}: {file} cannot be read: {error}") from error


def _lines(file: Path, csv: CsvConfig) -> Iterator[tuple[int, list[str]]]:
    """Values of each line from the first that is not empty, and its number, from 1."""
    quoting: Literal[0, 3] = text_rows.QUOTE_MINIMAL if csv.quote else text_rows.QUOTE_NONE
    between = csv.separator or separator(file)
    with io.TextIOWrapper(_open(file), csv.encoding, newline="") as text:
        if text.read(1) != "\ufeff":
            text.seek(0)
        lines = text_rows.reader(text, delimiter=between, quotechar=csv.quote, quoting=quoting)
        for values in dropwhile(lambda values: not values, lines):
            yield lines.line_num, values


def _open(file: Path) -> BinaryIO:
    """The text, unpacked where it is gzipped, whatever the file is called."""
    with file.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(file) if packed else file.open("rb"))


def _scan(file: Path, csv: CsvConfig, **options: Any) -> pl.LazyFrame:
    return pl.scan_csv(
        _source(file, csv),
        glob=False,
        separator=csv.separator or separator(file),
        quote_char=csv.quote,
        null_values=list(csv.null_values) or None,
        **options,
    )


def _source(file: Path, csv: CsvConfig) -> Path | io.BytesIO:
    """What Polars can read."""
    if csv.encoding == "utf-8":
        return file
    return io.BytesIO(_content(file).decode(csv.encoding).encode())


def _content(file: Path) -> bytes:
    with _open(file) as stream:
        return stream.read()


def _check_separator(file: Path, row: Sequence[str], csv: CsvConfig, what: str) -> None:
    if "\0" in "".join(row):
        raise DataError(
            f"{what}: {file} is no UTF-8 text; save it as UTF-8, or say `csv: {{encoding: utf-16}}`"
        )
    expected = csv.separator or separator(file)
    others = [c for c in _SEPARATORS if c != expected and len(row) == 1 and c in row[0]]
    if others:
        name = {",": "commas", "\t": "tabs"}.get(expected, repr(expected))
        raise DataError(
            f"{what}: {file} has one column, {row[0]!r}; expected {name} between columns, not "
            f"{others[0]!r} (or say `csv: {{separator: {others[0]!r}}}`)"
        )


def _check_header(
    file: Path, row: Sequence[str], csv: CsvConfig, names: Collection[str], what: str
) -> None:
    if not set(row) & set(names) and (_named_like_data(row) or _recurs(file, row, csv, names)):
        start = ", ".join(map(repr, row[:3]))
        raise DataError(
            f"{what}: the first line of {file} looks like data ({start}); expected the names of "
            "the columns (or say them: `csv: {header: [...]}`)"
        )
    repeats = [name for name in row if name and row.count(name) > 1]
    if repeats:
        raise DataError(
            f"{what}: {file} names {row.count(repeats[0])} columns `{repeats[0]}`; rename one"
        )


def _named_like_data(row: Sequence[str]) -> bool:
    return any(_VALUE.fullmatch(name) for name in row)


def _recurs(file: Path, row: Sequence[str], csv: CsvConfig, names: Collection[str]) -> bool:
    """Whether a value of the first line stands again below it; asked only where columns are
    missing anyway."""
    if not names:
        return False
    lines = _scan(file, csv, has_header=False, infer_schema=False)
    again = [(pl.col(c) == pl.col(c).first()).sum() > 1 for c in lines.collect_schema()]
    return any(lines.select(again).collect().row(0)) if again else False


def _may_be_ragged(file: Path, csv: CsvConfig, width: int) -> bool:
    """Whether a line has too few separators or too many, or a part of a value of several lines."""
    line, part = pl.first(), pl.lit(False)
    if csv.quote is not None:
        quote = re.escape(csv.quote)
        line = line.str.replace_all(f"{quote}[^{quote}]*{quote}", "")
        part = line.str.contains(csv.quote, literal=True)
    between = line.str.count_matches(csv.separator or separator(file), literal=True)
    odd = ((between != width - 1) | part).any()
    lines = pl.scan_lines(_source(file, csv), glob=False)
    return bool(lines.select(odd).collect(engine="streaming").item())


def _ragged(file: Path, csv: CsvConfig, width: int, what: str) -> DataError | None:
    """For the first line that has not `width` values; Polars makes nulls of those that lack."""
    for number, values in _lines(file, csv):
        if len(values) != width:
            return DataError(
                f"{what}: line {number} of {file} has {len(values)} value{'s' * (len(values) != 1)}"
                f"; expected {width}, as in its first line"
            )
    return None


def _undecodable(file: Path, csv: CsvConfig, what: str) -> DataError | None:
    content = _content(file)
    try:
        content.decode(csv.encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        other = "utf-16" if b"\0" in content[:_START] else "latin-1"
        return DataError(
            f"{what}: {file} is no {csv.encoding.upper()} text: byte 0x{content[error.start]:02x} "
            f"in line {line}; say its encoding, for example `csv: {{encoding: {other}}}`"
        )
    return None
