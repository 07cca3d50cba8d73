"""Rows that are not in Parquet yet: a file of lines, one for each request, each there or not.

The first line says the columns of every table, so that the file can be read without knowing who
wrote it. What a process that died has written stays; its last line may be torn, and was then never
answered. A power failure may lose what the system had not yet put on the disk.
"""

import errno
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from fulcrum.features.cause import first_line
from fulcrum.features.errors import StateError
from fulcrum.features.staging import full_disk
from fulcrum.features.values.schema import dump_schema, load_schema
from fulcrum.serving.experiments.columns import Schema

Tables = dict[str, pl.DataFrame]


class Journal:
    """A new file that lines are appended to. Not safe for several threads at once."""

    def __init__(self, path: Path, schemas: Mapping[str, Schema]) -> None:
        """Raises ResourceError when the file cannot be written; none is left then."""
        self.path = path
        self.size = 0
        """Bytes written."""
        self._schemas = schemas
        with full_disk(path):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            self._write(json.dumps({name: dump_schema(s) for name, s in schemas.items()}))
        except BaseException:
            self.close()
            path.unlink()
            raise

    def append(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Write the rows as one line in one call of the system: all of them, or none and a
        ResourceError when the disk is full."""
        parts = [
            f"{json.dumps(name)}: {_encode(frame.select(*self._schemas[name])).write_json()}"
            for name, frame in tables.items()
            if frame.height
        ]
        if parts:
            self._write(f"{{{', '.join(parts)}}}")

    def close(self) -> None:
        """Nothing is written any more."""
        os.close(self._file)

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode()
        with full_disk(self.path):
            try:
                if os.write(self._file, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                os.ftruncate(self._file, self.size)
                raise
        self.size += len(data)


def read(path: Path) -> Tables:
    """The rows of each table by the lines that are complete; no tables where the first is not.

    Raises StateError for a file that is damaged before its end."""
    lines = path.read_bytes()
    head, newline, rest = lines[: lines.rfind(b"\n") + 1].partition(b"\n")
    if not newline:
        return {}
    try:
        schemas = {name: load_schema(schema) for name, schema in json.loads(head).items()}
        encoded = {name: _encode(pl.DataFrame(schema=s)).schema for name, s in schemas.items()}
        nested = {name: pl.List(pl.Struct(schema)) for name, schema in encoded.items()}
        frame = pl.read_ndjson(io.BytesIO(rest), schema=nested)
    except (ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        raise StateError(f"{path}: damaged ({first_line(error)})") from error
    return {name: _rows(frame[name], encoded[name], schemas[name]) for name in schemas}


def _encode(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as whole numbers; JSON has the rest."""
    return frame.select(pl.all().to_physical())


def _rows(lines: pl.Series, encoded: Schema, schema: Schema) -> pl.DataFrame:
    rows = lines.drop_nulls().explode().struct.unnest()
    return rows.select(pl.col(name).cast(schema[name]) for name in encoded)
