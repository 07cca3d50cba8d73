"""Every file behind a config, found and opened."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.split import FILE, FileSplit
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.files.source import Source, scan_all
from fulcrum.features.prepared.manifest import Stamp
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.uses import open_tables, reads


@dataclass(frozen=True)
class Inputs:
    """Every file that a data set is made of."""

    events: Mapping[str, Source]
    """By split for `kind: files`, else all under `train`."""
    tables: Mapping[str, Source]

    @property
    def log(self) -> pl.LazyFrame:
        """All events; with `row.file` when splits are files."""
        if len(self.events) == 1:
            return self.events["train"].frame
        return pl.concat(
            source.frame.with_columns(pl.lit(split).alias(FILE))
            for split, source in self.events.items()
        )

    @property
    def sources(self) -> list[Source]:
        return [*self.events.values(), *self.tables.values()]

    @property
    def stamps(self) -> list[Stamp]:
        """What must be equal for the data to count as unchanged."""
        return [stamp for source in self.sources for stamp in source.stamp]

    def lineage(self, events: pl.LazyFrame, data: DataConfig) -> Lineage:
        """Of events as they are, or pivoted."""
        tables = {name: source.schema for name, source in self.tables.items()}
        return Lineage(data, dict(events.collect_schema()), tables)


def open_inputs(spec: FeatureSpec) -> Inputs:
    """Find every file. Raises DataError for what is missing, unreadable or of changing types."""
    data, read = spec.data, reads(spec)
    paths: dict[str, str | tuple[str, ...]] = {"data.events": data.events}
    if isinstance(data.split, FileSplit):
        paths |= {f"data.split.{n}": getattr(data.split, n) for n in data.split.names[1:]}
    sources = scan_all(paths, read, data.csv)
    events = {name.removeprefix("data.split."): source for name, source in sources.items()}
    events = {"train": events.pop("data.events"), **events}
    tables = open_tables(data, read, events["train"].schema)
    files = [file for source in (*events.values(), *tables.values()) for file in source.raw]
    columns = {column for file in files for column in file.schema}
    for field, names, choices in (
        ("types", data.types, columns),
        ("optional", data.optional, columns),
        ("outcomes", data.outcomes, {*columns, *data.derive}),
        ("known_before", data.known_before, columns),
    ):
        for name in names:
            if name not in choices:
                hint = nearest(name, choices)
                raise DataError(f"data.{field}: there is no column `{name}`{hint}")
    return Inputs(events, tables)
