"""What a run, or a model of one, reads of raw files."""

from collections.abc import Mapping

import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import Source, scan
from fulcrum.features.spec import FeatureSpec, expressions, mentions
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.values.schema import load_schema


def reads(spec: FeatureSpec) -> Reads:
    """The columns behind everything that is declared, and what they are read as."""
    data = spec.data
    columns = [r for n, f in spec.features.items() for r in f.reads(n, spec.features)]
    ids = [*data.keys, *data.split.reads, *(table.key for table in data.tables.values())]
    ids += [] if data.group is None else [data.group]
    ids += [] if data.session is None else [data.session.key]
    ids += [] if data.arms is None else [data.arms.column, data.arms.unit]
    times = [] if data.time is None else [data.time.column]
    stated = [one for name, one in data.late.items() if name in data.outcomes]
    times += [one.known_at for one in stated if one.known_at is not None]
    if data.pivot is not None:
        ids += [data.pivot.action, *data.pivot.by]
        times += [one.value for one in data.pivot.behaviours.values() if one.value is not None]
    return Reads(
        ids=frozenset([*ids, *(r.text for r in columns if r.id and not r.is_sql)]),
        numbers=frozenset([*times, *(r.text for r in columns if not (r.id or r.is_sql))]),
        mentions=frozenset(name for _, text in expressions(spec) for name in mentions(text)),
        types=load_schema(data.types),
        optional=frozenset(data.optional),
        time=data.time,
        whole=data.deduplicate,
    )


def row_reads(state: FeatureState, *others: str) -> Reads:
    """Of rows to be scored, and other columns where they are."""
    columns = {*state.row_columns, *state.keys, *others}
    return reads(state.spec).only(columns, state.row_columns)


def past_reads(state: FeatureState) -> Reads:
    """Of past events."""
    columns = state.past_columns
    return reads(state.spec).only(columns.keys(), columns, state.spec.data.deduplicate)


def open_tables(
    data: DataConfig, reads: Reads, events: Mapping[str, pl.DataType], place: str = "data.tables"
) -> dict[str, Source]:
    """The side tables, whole, each with its key in the type of the events or tables that it joins.

    Raises DataError as `scan` does."""
    known, sources = dict(events), {}
    for name, table in data.tables.items():
        names = reads.names | {table.key}
        expected = {key: dtype for key, dtype in known.items() if key == table.key}
        sources[name] = scan(
            table.path, f"{place}.{name}.path", reads.only(names, expected), table.csv
        )
        known = {**sources[name].schema, **known}
    return sources
