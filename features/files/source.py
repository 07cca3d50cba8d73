"""Raw tables: Parquet or text files by path, folder, glob or list, as one lazy frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.errors import DataError
from fulcrum.features.files.file import RawFile, scan_parquet
from fulcrum.features.files.paths import expand
from fulcrum.features.files.reads import Reads, Schema
from fulcrum.features.files.types import Types

Paths = str | Sequence[str]
_EVERYTHING, _PLAIN = Reads(), CsvConfig()


@dataclass(frozen=True)
class Source:
    """Files with the same columns, in the order of their names."""

    raw: tuple[RawFile, ...]
    parts: Mapping[Path, pl.LazyFrame]
    """The rows of each file."""
    frame: pl.LazyFrame
    """All rows, in the order of the files. Hive keys (`date=2022-04-08/`) are columns."""
    schema: Schema

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they are."""
        return tuple(self.parts)

    @property
    def stamp(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of each file: changes when the data do."""
        stats = ((file, file.stat()) for file in self.files)
        return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def damage(self) -> str | None:
        """What is wrong with the first file whose content cannot be read to the end."""
        return next(filter(None, (file.damage() for file in self.raw)), None)


def scan(
    paths: Paths,
    what: str = "data.events",
    reads: Reads = _EVERYTHING,
    csv: CsvConfig = _PLAIN,
) -> Source:
    """Open the files behind `paths`; `what` names their place in the config in error messages.

    Raises DataError when nothing is there, a file cannot be read, all are without rows, and for a
    column that is read and is missing from one of the files, or has types in them that no type
    holds without loss.
    """
    return scan_all({what: paths}, reads, csv)[what]


def scan_all(groups: Mapping[str, Paths], reads: Reads, csv: CsvConfig) -> dict[str, Source]:
    """`scan` for several places of the config whose files have the same columns and types."""
    opened = {what: _open(paths, what, reads, csv) for what, paths in groups.items()}
    types = Types([file for files in opened.values() for file in files], reads)
    return {what: _source(files, types) for what, files in opened.items()}


def _open(paths: Paths, what: str, reads: Reads, csv: CsvConfig) -> tuple[RawFile, ...]:
    patterns = [paths] if isinstance(paths, str) else paths
    if not patterns or not all(patterns):
        raise DataError(
            f"{what}: expected a path, a folder, a glob or a list of them, got {paths!r}"
        )
    try:
        found = dict.fromkeys(file for path in patterns for file in expand(path, what))
    except OSError as error:
        raise DataError(f"{what}: {error.strerror}: {error.filename!s:.80}") from None
    files = tuple(RawFile.open(file, what, csv, reads) for file in found)
    if not any(file.has_rows() for file in files):
        more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        raise DataError(f"{what}: no rows in {files[0].path}{more}")
    return files


def _source(files: tuple[RawFile, ...], types: Types) -> Source:
    parts = {file.path: types.rows(file) for file in files}
    frames: list[pl.LazyFrame] = []
    for alike, group in groupby(files, lambda file: types.holds(file) and [*file.own.items()]):
        paths = [file.path for file in group]
        # One scan of many files is planned and read faster than many scans.
        whole = [scan_parquet(paths).select(*types.schema)] if alike else []
        frames += whole or [parts[path] for path in paths]
    frame = pl.concat(frames, how="vertical")
    return Source(files, parts, frame, dict(frame.collect_schema()))
