"""Which raw columns a value is made of: through SQL, derived columns and side tables.

A name is a column of the events, of a side table, or derived; or `=<sql>` for the value of an
expression (`fulcrum.features.values.sql.value`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.values import sql

Schema = Mapping[str, pl.DataType]


@dataclass
class Needs:
    """What must be read, joined and computed for some names to exist."""

    columns: dict[str, pl.DataType] = field(default_factory=dict)
    """The events' own columns."""
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of each side table, without its key, in the order in which tables are joined."""
    derived: tuple[str, ...] = ()
    """Derived columns, in the order in which they are computed."""
    expressions: tuple[str, ...] = ()
    """SQL whose values are columns `=<sql>`."""


class Lineage:
    """Follows names back to the columns of the events and of the side tables."""

    def __init__(self, data: DataConfig, events: Schema, tables: Mapping[str, Schema]) -> None:
        self.data, self.events, self.tables = data, events, tables
        self.dtypes: dict[str, pl.DataType] = {}
        self._sources: dict[str, tuple[str, ...]] = {}
        for name in data.derive:
            if name in events or self._tables_with(name):
                raise DataError(f"data.derive.{name}: `{name}` is already a column; rename it")

    def dtype(self, name: str) -> pl.DataType:
        """Type of a name's values. Raises DataError for a name that leads nowhere."""
        self._follow(name)
        return self.dtypes[name]

    def table(self, names: Iterable[str]) -> str | None:
        """The side table that all of these columns come from; None when there is no such one."""
        homes = {tuple(self._tables_with(name)) for name in names}
        [home] = homes if len(homes) == 1 else [()]
        return home[0] if len(home) == 1 else None

    def needs(self, names: Iterable[str]) -> Needs:
        """Everything behind the names. Raises DataError for a name that leads nowhere."""
        names = tuple(dict.fromkeys(names))
        behind: set[str] = set()
        for name in names:
            self._collect(name, behind)
        tables = {
            table: tuple(c for c in self.tables[table] if c in behind and self._home(c) == table)
            for table in self.data.tables
            if table in self.tables
        }
        return Needs(
            columns={c: dtype for c, dtype in self.events.items() if c in behind},
            tables={table: columns for table, columns in tables.items() if columns},
            derived=tuple(d for d in self.data.derive if d in behind),
            expressions=tuple(name[1:] for name in names if name.startswith("=")),
        )

    def _collect(self, name: str, behind: set[str]) -> None:
        if name not in behind:
            behind.add(name)
            for source in self._follow(name):
                self._collect(source, behind)

    def _follow(self, name: str) -> tuple[str, ...]:
        """The names that this one is directly made of; notes its type."""
        if name not in self._sources:
            self._sources[name], self.dtypes[name] = self._look_up(name)
        return self._sources[name]

    def _look_up(self, name: str) -> tuple[tuple[str, ...], pl.DataType]:
        derived = tuple(self.data.derive)
        if name.startswith("="):
            return sql.reads(name[1:], _Types(self, derived))
        if name in derived:
            return sql.reads(self.data.derive[name], _Types(self, derived[: derived.index(name)]))
        table = self._home(name)
        if table is None:
            return (), self.events[name]
        return (self._key(table),), self.tables[table][name]

    def _home(self, name: str) -> str | None:
        """The side table that a column comes from, None for the events themselves."""
        tables = self._tables_with(name)
        places = [
            *(["the events"] if name in self.events else []),
            *map("table `{}`".format, tables),
        ]
        if len(places) > 1:
            raise DataError(f"column `{name}` is in {' and in '.join(places)}; rename one of them")
        if not places:
            hint = nearest(name, _Types(self, tuple(self.data.derive)))
            raise DataError(f"there is no column `{name}`{hint}")
        return tables[0] if tables else None

    def _tables_with(self, name: str) -> list[str]:
        return [
            table
            for table, schema in self.tables.items()
            if name in schema and name != self.data.tables[table].key
        ]

    def _key(self, table: str) -> str:
        """The key of a side table, in the events or in a table that is joined earlier."""
        key = self.data.tables[table].key
        order = list(self.data.tables)
        homes = self._tables_with(key)
        if key in self.events or (homes and order.index(homes[0]) < order.index(table)):
            return key
        hint = nearest(key, self.events)
        raise DataError(f"data.tables.{table}.key: there is no column `{key}` in the events{hint}")


class _Types(Mapping[str, pl.DataType]):
    """Type by name, found when asked for; `derived` are the derived columns that may be used."""

    def __init__(self, lineage: Lineage, derived: tuple[str, ...]) -> None:
        self.lineage = lineage
        columns = (column for schema in lineage.tables.values() for column in schema)
        self.names = dict.fromkeys((*lineage.events, *columns, *derived))

    def __getitem__(self, name: str) -> pl.DataType:
        if name not in self.names:
            raise KeyError(name)
        return self.lineage.dtype(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
