"""One raw file, of either form, as it is."""

import csv as text_rows
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from fulcrum.features.cause import first_line
from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.errors import DataError
from fulcrum.features.files import hive
from fulcrum.features.files.csv import csv_schema, dialect, scan_csv
from fulcrum.features.files.exact import Facts, facts, read_facts
from fulcrum.features.files.paths import is_csv
from fulcrum.features.files.reads import Reads, Schema


@dataclass(frozen=True)
class RawFile:
    """A Parquet or text file and the hive keys on its path."""

    path: Path
    what: str
    """Its place in the config, for messages."""
    csv: CsvConfig
    own: Schema
    """Types of the columns in the file."""
    keys: dict[str, str | None]
    """The hive keys that are no columns of the file."""

    @classmethod
    def open(cls, path: Path, what: str, csv: CsvConfig, reads: Reads) -> "RawFile":
        """Raises DataError for a file that cannot be read."""
        try:
            if is_csv(path):
                csv = dialect(path, csv, what)
                own = csv_schema(path, csv, reads.names, what)
            else:
                own = dict(scan_parquet([path]).collect_schema())
        except NoDataError:
            raise DataError(f"{what}: {path} is empty") from None
        except (PolarsError, OSError, EOFError, zlib.error, text_rows.Error) as error:
            raise unreadable(what, path, error) from None
        keys = {name: value for name, value in hive.keys(path).items() if name not in own}
        return cls(path, what, csv, own, keys)

    @property
    def schema(self) -> Schema:
        """Types by column; in text, what the values look like."""
        return {**self.own, **{name: hive.look(value) for name, value in self.keys.items()}}

    @property
    def texts(self) -> Collection[str]:
        """Columns that are text in truth, whatever they look like."""
        return self.schema if is_csv(self.path) else self.keys

    def frame(self, types: Schema | None = None) -> pl.LazyFrame:
        """The columns that `types` names, in that order, or all of them. Columns of text may be
        asked for as String, those that look like whole numbers also as floats."""
        types = self.schema if types is None else types
        if is_csv(self.path):
            unread = dict.fromkeys(self.own, pl.String())
            asked = {name: dtype for name, dtype in types.items() if name in self.own}
            rows = scan_csv(self.path, self.csv, {**unread, **asked})
        else:
            rows = scan_parquet([self.path])
        literals = [
            pl.lit(value, pl.String).cast(types[name]).alias(name)
            for name, value in self.keys.items()
            if name in types
        ]
        return rows.with_columns(literals).select(list(types))

    def has_rows(self) -> bool:
        """Raises DataError when the file cannot be read."""
        try:
            return self.frame().head(1).select(pl.len()).collect().item() > 0
        except (PolarsError, OSError) as error:
            raise unreadable(self.what, self.path, error) from None

    def facts(self, names: Collection[str]) -> dict[str, Facts]:
        """What is true of the values of columns: of text, decimals or floats."""
        names = [name for name in self.schema if name in names]
        types = {n: pl.String() if n in self.texts else self.schema[n] for n in names}
        if not types:
            return {}
        parts = [part for name, dtype in types.items() for part in facts(name, dtype)]
        try:
            row = self.frame(types).select(parts).collect(engine="streaming").row(0, named=True)
        except (PolarsError, OSError) as error:
            raise unreadable(self.what, self.path, error) from None
        return {name: read_facts(row, name) for name in names}

    def damage(self) -> str | None:
        """What is wrong with a file that cannot be read to its end."""
        try:
            self.frame().sink_batches(lambda _: None)
        except (PolarsError, OSError) as error:
            return f"{self.path} is damaged: {first_line(error)}"
        return None


def scan_parquet(paths: list[Path]) -> pl.LazyFrame:
    """The columns of files of one schema."""
    return pl.scan_parquet(paths, glob=False, hive_partitioning=False)


def unreadable(what: str, path: Path, error: Exception) -> DataError:
    """For a file that Polars cannot read."""
    return DataError(f"{what}: {path} cannot be read: {first_line(error)}")
