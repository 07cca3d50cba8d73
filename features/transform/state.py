"""FeatureState: what training taught, and all that a served model needs of the features."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from fulcrum.features import import_path
from fulcrum.features.declared.data import TimeConfig
from fulcrum.features.errors import ConfigError, StateError
from fulcrum.features.kinds import KINDS, FeatureKind
from fulcrum.features.kinds.base import Learned
from fulcrum.features.kinds.vocabulary import Buckets, Lookup, Vocabulary
from fulcrum.features.layout import Layout
from fulcrum.features.plugins import requirements
from fulcrum.features.raw.known import columns as known_columns
from fulcrum.features.raw.lineage import Lineage, Needs
from fulcrum.features.spec import FeatureSpec, expressions
from fulcrum.features.values import sql
from fulcrum.features.values.schema import dump_schema, load_schema

VERSION = 1
"""Of the files below; a state of another version is refused."""

Schema = dict[str, pl.DataType]


@dataclass(frozen=True, eq=False)
class FeatureState:
    """Turns raw rows into the inputs of the network. Saved as JSON and Parquet, read by people.

    `state.json` holds everything but `vocabularies/<table>.parquet` (`value`, `count`; the id of
    the first value is 2) and `tables/<name>.parquet`.
    """

    spec: FeatureSpec
    layout: Layout
    row_columns: Schema
    """Raw columns that a row to be scored must carry: no outcomes, none of side tables."""
    past_columns: Schema
    """Raw columns that a past event must carry; empty when no feature looks back."""
    tables: dict[str, pl.DataFrame]
    """Side tables, by key, with the columns that features read."""
    lookups: dict[str, Lookup]
    """By embedding table."""
    learned: dict[str, Learned]
    """By feature."""
    bases: dict[str, float]
    """What a smoothed window falls back on, by feature."""
    fingerprint: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that identify a row."""
        return self.spec.data.keys

    @property
    def time(self) -> TimeConfig | None:
        """The column that orders events."""
        return self.spec.data.time

    @cached_property
    def lineage(self) -> Lineage:
        """Of the columns that are left: those of rows and past events and of the pruned tables."""
        tables = {name: dict(table.schema) for name, table in self.tables.items()}
        return Lineage(self.spec.data, {**self.past_columns, **self.row_columns}, tables)

    @cached_property
    def row_needs(self) -> Needs:
        """What the inputs need of a row."""
        return self.lineage.needs(row_names(self.spec))

    @cached_property
    def past_needs(self) -> Needs:
        """What looking back needs of a past event."""
        return self.lineage.needs(past_names(self.spec))

    @cached_property
    def inputs(self) -> list[pl.Expr]:
        """One expression per input of the layout, over complete rows that have looked back."""
        expressions = {
            expression.meta.output_name(): expression
            for name, encoder in self.spec.encoders.items()
            for expression in encoder.expressions(
                name, self.learned[name], self.lookups, self.schema(name)
            )
        }
        return [expressions[source.name] for source in self.layout.inputs]

    @cached_property
    def remembered(self) -> dict[str, pl.Expr]:
        """Id of each feature that histories read, over complete past events."""
        encoders = self.spec.encoders
        recalls = self.spec.looking_back.values()
        names = dict.fromkeys(name for feature in recalls for name in feature.remembers())
        return {
            name: encoders[name].expressions(
                name, self.learned[name], self.lookups, self.schema(name)
            )[0]
            for name in names
        }

    def schema(self, name: str) -> Schema:
        """Types of the columns that a feature reads."""
        return schema_of(name, self.spec, self.lineage)

    def save(self, folder: Path) -> None:
        """Write into an empty or new folder."""
        for name in ("vocabularies", "tables"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        vocabularies = {}
        for table, lookup in self.lookups.items():
            if isinstance(lookup, Vocabulary):
                lookup.values.write_parquet(folder / "vocabularies" / f"{table}.parquet")
                vocabularies[table] = {"values": len(lookup.values)}
            elif isinstance(lookup, Buckets):
                vocabularies[table] = {"hash_buckets": lookup.buckets}
        for table, frame in self.tables.items():
            frame.write_parquet(folder / "tables" / f"{table}.parquet")
        document = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "row_columns": dump_schema(self.row_columns),
            "past_columns": dump_schema(self.past_columns),
            "vocabularies": vocabularies,
            "tables": list(self.tables),
            "bases": self.bases,
            "learned": {name: part.model_dump(mode="json") for name, part in self.learned.items()},
            "layout": self.layout.model_dump(mode="json"),
            "spec": self.spec.model_dump(mode="json"),
            "plugins": {
                f.kind: needs for f in self.spec.features.values() if (needs := requirements(f))
            },
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (folder / "state.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "FeatureState":
        """Raises StateError when the folder holds no state of this version, when a plugin that
        brought one of its kinds of feature is not installed, and when its SQL looks at more
        than a row."""
        try:
            document = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                message = f"written by another version ({document['version']}, not {VERSION})"
                raise StateError(f"{folder}: {message}; prepare again")
            _need_kinds(folder, document)
            return cls._restore(folder, document)
        except ConfigError as error:
            raise StateError(f"{folder}: no feature state of this project: {error}") from None
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise StateError(f"{folder}: no readable feature state: {error}") from error

    @classmethod
    def _restore(cls, folder: Path, document: Mapping[str, Any]) -> "FeatureState":
        spec = FeatureSpec.model_validate(document["spec"])
        for _, text in expressions(spec):
            sql.check(text)
        encoders = spec.encoders
        lookups: dict[str, Lookup] = {}
        for table, facts in document["vocabularies"].items():
            if "hash_buckets" in facts:
                lookups[table] = Buckets(facts["hash_buckets"])
            else:
                lookups[table] = Vocabulary(
                    pl.read_parquet(folder / "vocabularies" / f"{table}.parquet")
                )
        return cls(
            spec=spec,
            layout=Layout.model_validate(document["layout"]),
            row_columns=load_schema(document["row_columns"]),
            past_columns=load_schema(document["past_columns"]),
            tables={
                name: pl.read_parquet(folder / "tables" / f"{name}.parquet")
                for name in document["tables"]
            },
            lookups=lookups,
            learned={
                name: encoders[name].learned.model_validate(part)
                for name, part in document["learned"].items()
            },
            bases=document["bases"],
            fingerprint=document["fingerprint"],
        )


def _need_kinds(folder: Path, document: Mapping[str, Any]) -> None:
    """Raises StateError that says what to install for a kind that no family member has here, and
    for one whose import path may not be followed."""
    plugins: Mapping[str, Sequence[str]] = document.get("plugins", {})
    for name, feature in document["spec"]["features"].items():
        kind = feature["kind"]
        if ":" in kind:
            try:
                import_path.member(kind, FeatureKind, "kind")
            except ValueError as error:
                raise StateError(f"{folder}: feature `{name}`: {error}") from error
        if kind not in KINDS and plugins.get(kind):
            packages = " ".join(plugins[kind])
            raise StateError(
                f"{folder}: feature `{name}` is of kind `{kind}`, which is not installed here; "
                f"expected {packages} (`pip install {packages}`)"
            )


def row_names(spec: FeatureSpec) -> list[str]:
    """Names that features read from the row itself, and its time when they look back."""
    reads = [r for name, f in spec.features.items() for r in f.reads(name, spec.features) if r.row]
    time = [spec.data.time.column] if spec.data.time and spec.looking_back else []
    return [*(read.column for read in reads), *time]


def past_names(spec: FeatureSpec) -> list[str]:
    """Names that features read from past events, with their times and the condition on all
    rows."""
    reads = [r for name, f in spec.features.items() for r in f.reads(name, spec.features) if r.past]
    if not reads or spec.data.time is None:
        return []
    where = [] if spec.data.where is None else [sql.value(spec.data.where)]
    times = [c for outcomes in spec.clocks.values() for c in known_columns(outcomes, spec.data)]
    return [*(read.column for read in reads), spec.data.time.column, *times, *where]


def schema_of(name: str, spec: FeatureSpec, lineage: Lineage) -> Schema:
    """Types of the columns that a feature reads, and of the number that a window computes."""
    reads = spec.features[name].reads(name, spec.features)
    types = {read.column: lineage.dtype(read.column) for read in reads}
    return {**types, f"past.{name}": pl.Float64()}
