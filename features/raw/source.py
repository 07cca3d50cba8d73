"""Raw tables: Parquet or CSV files by path, folder, glob or list, as one lazy frame."""

import glob
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from fulcrum.features.errors import DataError, nearest

SUFFIXES = (".parquet", ".csv")
_HIVE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OTHER_SEPARATOR = re.compile(r"[;|\t]")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Source:
    """Files with the same columns, in the order of their names."""

    files: tuple[Path, ...]
    frame: pl.LazyFrame
    """All rows, in the order of the files. Hive keys (`date=2022-04-08/`) are columns."""
    schema: Schema

    @property
    def stamp(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of each file: changes when the data do."""
        stats = ((file, file.stat()) for file in self.files)
        return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def damage(self) -> str | None:
        """What is wrong with the first file whose content cannot be read to the end."""
        for file in self.files:
            try:
                _open(file.suffix, [file], {file: _schema(file, "")}).sink_batches(lambda _: None)
            except (PolarsError, OSError) as error:
                return f"{file} is damaged: {_first_line(error)}"
        return None


def scan(
    paths: str | Sequence[str], what: str = "data.events", like: "Source | None" = None
) -> Source:
    """Open the files behind `paths`; `what` names their place in the config in error messages;
    `like` are files that must have the same columns.

    Raises DataError when nothing is there, a file cannot be read, all are without rows, or a column
    is missing from or of another type in one of the files.
    """
    patterns = [paths] if isinstance(paths, str) else paths
    files = tuple(dict.fromkeys(file for path in patterns for file in _expand(path, what)))
    schemas = {file: _schema(file, what) for file in files}
    for file in files[1:]:
        _compare(files[0], schemas[files[0]], file, schemas[file], what)
    if not any(_has_rows(file, what) for file in files):
        raise DataError(f"{what}: no rows in {_some(files)}")
    hive = _hive(files, schemas[files[0]], what)
    groups = itertools.groupby(files, lambda file: (file.suffix, tuple(hive[file].items())))
    columns = tuple(schemas[files[0]])
    parts = [
        _open(suffix, list(group), schemas).select(*columns, *_literals(keys))
        for (suffix, keys), group in groups
    ]
    frame = _plain(pl.concat(parts, how="vertical_relaxed"))
    if like is not None:
        _compare(like.files[0], like.schema, files[0], dict(frame.collect_schema()), what)
        frame = frame.select(*like.schema)
    return Source(files, frame, dict(frame.collect_schema()))


def _expand(path: str, what: str) -> list[Path]:
    """The files behind one path, folder or glob, sorted by name."""
    place = Path(path)
    if place.is_dir():
        files = [f for f in sorted(place.rglob("*")) if f.suffix in SUFFIXES and _visible(f, place)]
        if not files:
            raise DataError(f"{what}: no Parquet or CSV file in the folder {path}")
        return files
    if place.is_file():
        if place.suffix not in SUFFIXES:
            raise DataError(f"{what}: {path} is no {' or '.join(SUFFIXES)} file")
        return [place]
    if glob.has_magic(path):
        matches = (Path(match) for match in sorted(glob.glob(path, recursive=True)))
        files = [f for f in matches if f.is_file() and f.suffix in SUFFIXES and _visible(f, Path())]
        if not files:
            raise DataError(f"{what}: no Parquet or CSV file matches {path}")
        return files
    siblings = [f.name for f in place.parent.iterdir()] if place.parent.is_dir() else []
    near = nearest(place.name, siblings)
    raise DataError(f"{what}: there is no file {path}{near}")


def _visible(file: Path, below: Path) -> bool:
    """Neither the file nor a folder on the way to it is hidden or, like `_temporary`, private."""
    parts = file.relative_to(below).parts if below.parts else file.parts[-1:]
    return not any(part.startswith((".", "_")) for part in parts)


def _schema(file: Path, what: str) -> dict[str, pl.DataType]:
    try:
        if file.suffix == ".csv":
            schema = dict(pl.scan_csv(file, infer_schema_length=None, glob=False).collect_schema())
            _check_header(file, list(schema), what)
            return schema
        return dict(pl.scan_parquet(file, glob=False, hive_partitioning=False).collect_schema())
    except NoDataError:
        raise DataError(f"{what}: {file} is empty") from None
    except (PolarsError, OSError) as error:
        raise DataError(f"{what}: {file} cannot be read: {_first_line(error)}") from None


def _check_header(file: Path, names: list[str], what: str) -> None:
    if "\0" in "".join(names):
        raise DataError(f"{what}: {file} is no UTF-8 text; save it as UTF-8")
    match = _OTHER_SEPARATOR.search(names[0]) if len(names) == 1 else None
    if match:
        raise DataError(
            f"{what}: {file} has one column, {names[0]!r}; expected commas between columns, "
            f"not {match[0]!r}"
        )


def _compare(first: Path, expected: Schema, file: Path, actual: Schema, what: str) -> None:
    for name in expected.keys() ^ actual.keys():
        has, lacks = (first, file) if name in expected else (file, first)
        raise DataError(f"{what}: {lacks} has no column `{name}`, which {has} has")
    for name, dtype in expected.items():
        both_numbers = dtype.is_numeric() and actual[name].is_numeric() and file.suffix == ".csv"
        if dtype != actual[name] and not both_numbers:
            raise DataError(
                f"{what}: column `{name}` is {dtype} in {first} but {actual[name]} in {file}"
            )


def _has_rows(file: Path, what: str) -> bool:
    frame = (
        pl.scan_csv(file, glob=False)
        if file.suffix == ".csv"
        else pl.scan_parquet(file, glob=False)
    )
    try:
        return frame.head(1).select(pl.len()).collect().item() > 0
    except (PolarsError, OSError) as error:
        raise DataError(f"{what}: {file} cannot be read: {_first_line(error)}") from None


def _open(suffix: str, files: list[Path], schemas: Mapping[Path, Schema]) -> pl.LazyFrame:
    if suffix != ".csv":
        return pl.scan_parquet(files, glob=False, hive_partitioning=False)
    parts = [pl.scan_csv(file, glob=False, schema_overrides=dict(schemas[file])) for file in files]
    return pl.concat([part.select(*schemas[files[0]]) for part in parts], how="vertical_relaxed")


def _hive(
    files: Sequence[Path], schema: Schema, what: str
) -> dict[Path, dict[str, str | int | None]]:
    """The `key=value` folders on the way to each file, less those that are columns of the files;
    whole numbers become numbers when all values of the key are."""
    keys = {file: dict(filter(None, map(_key_value, file.parts[:-1]))) for file in files}
    for file in files:
        if keys[file].keys() != keys[files[0]].keys():
            raise DataError(f"{what}: {files[0]} and {file} lie in folders with other hive keys")
    names = [name for name in keys[files[0]] if name not in schema]
    values = {name: {keys[file][name] for file in files} - {None} for name in names}
    whole = {name for name in names if all(v and v.lstrip("-").isdigit() for v in values[name])}
    return {
        file: {n: int(v) if n in whole and v else v for n in names for v in [keys[file][n]]}
        for file in files
    }


def _key_value(folder: str) -> tuple[str, str | None] | None:
    match = _HIVE.fullmatch(folder)
    if match is None:
        return None
    return match[1], None if match[2] == _HIVE_NULL else unquote(match[2])


def _literals(keys: Sequence[tuple[str, str | int | None]]) -> list[pl.Expr]:
    return [pl.lit(value).alias(name) for name, value in keys]


def _plain(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Storage types replaced by the type of their values."""
    casts = {name: _value_type(dtype) for name, dtype in frame.collect_schema().items()}
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in casts.items() if dtype)


def _value_type(dtype: pl.DataType) -> pl.DataType | None:
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.Decimal):
        return pl.Float64()
    if isinstance(dtype, pl.Array):
        return pl.List(dtype.inner)
    return None


def _some(files: Sequence[Path]) -> str:
    return f"{files[0]}" + (f" and {len(files) - 1} more files" if len(files) > 1 else "")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
