"""FeatureState: what training taught, and all that a served model needs of the features."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from polars.exceptions import PanicException
from pydantic import Field

from fulcrum.features import import_path
from fulcrum.features.cause import cause
from fulcrum.features.config import Config
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import StateError
from fulcrum.features.kinds import KINDS, FeatureKind
from fulcrum.features.kinds.base import Arithmetic, Function, Learned, Step
from fulcrum.features.kinds.vocabulary import Buckets, Lookup, Vocabulary
from fulcrum.features.layout import (
    BagInput,
    DenseInput,
    IdInput,
    Input,
    Layout,
    SequenceInput,
    TableSpec,
)
from fulcrum.features.plugins import other_versions, requirements
from fulcrum.features.raw.known import columns as known_columns
from fulcrum.features.raw.lineage import Lineage, Needs
from fulcrum.features.raw.pivot import columns as pivot_columns
from fulcrum.features.spec import FeatureSpec, expressions
from fulcrum.features.values import sql
from fulcrum.features.values.schema import dump_schema, load_schema

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the files below; a state of another version is refused."""

Schema = dict[str, pl.DataType]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Of a file, so it leads to no other folder."""


class VocabularyFacts(Config):
    """Of one vocabulary: either its size or the number of its buckets."""

    values: int | None = None
    """Number of its values, which are in a file of its own."""
    hash_buckets: int | None = Field(None, ge=1)
    """Number of its buckets."""


class Document(Config):
    """`state.json`: the fields of `FeatureState`, but for what is in files of its own."""

    version: int
    """See `VERSION`."""
    fingerprint: str
    row_columns: dict[str, str]
    past_columns: dict[str, str]
    vocabularies: dict[Name, VocabularyFacts]
    """By embedding table."""
    tables: tuple[Name, ...]
    """Names of the side tables."""
    bases: dict[str, float]
    learned: dict[str, dict[str, Any]]
    layout: Layout
    spec: FeatureSpec
    plugins: dict[str, tuple[str, ...]] = {}
    """By kind of feature, the distributions that it needs."""


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
    """Raw columns that a past event must carry; empty when no feature looks back. Of a long log
    (`data.pivot`) an event is one of its rows."""
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
        pivoted = pivot_columns(self.spec.data, self.past_columns) if self.past_columns else {}
        events = {**self.past_columns, **self.row_columns, **pivoted}
        return Lineage(self.spec.data, events, tables)

    @cached_property
    def row_needs(self) -> Needs:
        """What the inputs need of a row."""
        return self.lineage.needs(row_names(self.spec))

    @cached_property
    def past_needs(self) -> Needs:
        """What looking back needs of a past event."""
        return self.lineage.needs(past_names(self.spec))

    @cached_property
    def steps(self) -> dict[str, Step]:
        """What makes each input of the layout, over complete rows that have looked back."""
        steps = {
            step.meta.output_name() if isinstance(step, pl.Expr) else step.input: step
            for name in self.spec.features
            for step in self._steps(name)
        }
        return {source.name: steps[source.name] for source in self.layout.inputs}

    @cached_property
    def remembered(self) -> dict[str, pl.Expr]:
        """Id of each feature that histories read, over complete past events."""
        recalls = self.spec.looking_back.values()
        names = dict.fromkeys(name for feature in recalls for name in feature.remembers())
        steps = {name: self._steps(name)[0] for name in names}
        return {
            name: step.expression(pl.Int32()) if isinstance(step, Function) else step
            for name, step in steps.items()
            if not isinstance(step, Arithmetic)
        }

    def _steps(self, name: str) -> Sequence[Step]:
        encoder = self.spec.encoders[name]
        return encoder.steps(name, self.learned[name], self.lookups, self.schema(name))

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
        file = folder / "state.json"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                message = f"written by another version ({document['version']}, not {VERSION})"
                raise StateError(f"{folder}: {message}; prepare again")
            _need_kinds(folder, document)
            return cls._restore(folder, Document.model_validate(document))
        except StateError:
            raise
        except Exception as error:  # a stranger's text may break anything
            raise StateError(f"{file}: no readable feature state: {cause(error)}") from error

    @classmethod
    def _restore(cls, folder: Path, document: Document) -> "FeatureState":
        for _, text in expressions(document.spec):
            sql.check(text)
        encoders = document.spec.encoders
        return cls(
            spec=document.spec,
            layout=document.layout,
            row_columns=load_schema(document.row_columns),
            past_columns=load_schema(document.past_columns),
            tables={n: _read(folder / "tables" / f"{n}.parquet") for n in document.tables},
            lookups={
                name: Buckets(facts.hash_buckets)
                if facts.hash_buckets is not None
                else _vocabulary(folder / "vocabularies" / f"{name}.parquet", facts.values)
                for name, facts in document.vocabularies.items()
            },
            learned={
                name: encoders[name].learned.model_validate(part)
                for name, part in document.learned.items()
            },
            bases=document.bases,
            fingerprint=document.fingerprint,
        )

    def check(self) -> None:
        """Raises ConfigError and StateError when the parts do not belong together."""
        self.spec.check()
        smoothed = [n for n, f in self.spec.looking_back.items() if f.base() is not None]
        tasks = [task.name for task in self.layout.tasks]
        for what, names, expected in (
            ("learned", list(self.learned), list(self.spec.features)),
            ("bases", list(self.bases), smoothed),
            ("layout.tasks", tasks, list(self.spec.tasks)),
        ):
            if names != expected:
                raise StateError(f"{what}: expected {expected}, got {names}")
        if unknown := self.tables.keys() - self.spec.data.tables.keys():
            raise StateError(f"tables: {sorted(unknown)} are not those of `data.tables`")
        for name, table in self.tables.items():
            key = self.spec.data.tables[name].key
            if key not in table.columns or not table[key].is_unique().all():
                raise StateError(
                    f"tables: expected `{name}` with a column `{key}`, each value once"
                )
        if self.layout != self.arranged():
            raise StateError("layout: not that of its features and vocabularies")

    def arranged(self) -> Layout:
        """The layout that follows from features, vocabularies and what was learned."""
        encoders, learned = self.spec.encoders, self.learned
        tables = [TableSpec(name=name, rows=lookup.rows) for name, lookup in self.lookups.items()]
        for name, encoder in encoders.items():
            tables += encoder.tables(name, learned[name])
        inputs = [i for n, e in encoders.items() for i in e.inputs(n, learned[n], encoders)]

        def of(kind: type[Input]) -> tuple[Input, ...]:
            return tuple(source for source in inputs if isinstance(source, kind))

        return Layout(
            tables=tuple(tables),
            ids=of(IdInput),
            bags=of(BagInput),
            dense=of(DenseInput),
            sequences=of(SequenceInput),
            tasks=self.layout.tasks,
        )


def _vocabulary(file: Path, size: int | None) -> Vocabulary:
    values = _read(file)
    columns = [("value", pl.String), ("count", pl.Int64)]
    if values.schema != pl.Schema(columns) or len(values) != size:
        raise StateError(f"{file}: not the vocabulary that state.json speaks of")
    return Vocabulary(values)


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, glob=False)
    except (Exception, PanicException) as error:
        raise StateError(f"{file}: not readable: {cause(error)}") from error


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
        for needed, here in other_versions(plugins.get(kind, ())).items():
            logger.warning(
                "%s: feature `%s` was made with %s, and %s is installed: its values may differ",
                *(folder, name, needed, here or "none"),
            )


def row_names(spec: FeatureSpec) -> list[str]:
    """Names that features read from the row itself, and its time when they look back."""
    reads = [r for name, f in spec.features.items() for r in f.reads(name, spec.features) if r.row]
    time = [spec.data.time.column] if spec.data.time and spec.looking_back else []
    return [*(read.column for read in reads), *time]


def past_names(spec: FeatureSpec) -> list[str]:
    """Names that features read from past events, with their times, what `data.pivot` makes rows
    of, and the condition on all rows."""
    reads = [r for name, f in spec.features.items() for r in f.reads(name, spec.features) if r.past]
    if not reads or spec.data.time is None:
        return []
    where = [] if spec.data.where is None else [sql.value(spec.data.where)]
    times = [c for clock in spec.clocks.values() for c in known_columns(clock.outcomes, spec.data)]
    pivot = [] if spec.data.pivot is None else [name for _, name in spec.data.pivot.places()]
    return [*(read.column for read in reads), spec.data.time.column, *pivot, *times, *where]


def schema_of(name: str, spec: FeatureSpec, lineage: Lineage) -> Schema:
    """Types of the columns that a feature reads, and of the number that a window computes."""
    reads = spec.features[name].reads(name, spec.features)
    types = {read.column: lineage.dtype(read.column) for read in reads}
    return {**types, f"past.{name}": pl.Float64()}
