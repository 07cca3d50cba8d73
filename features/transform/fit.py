"""What the training split teaches: vocabularies, moments, bucket edges, and the layout."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from fulcrum.features.kinds.base import Learned
from fulcrum.features.kinds.counts import Counts, count
from fulcrum.features.kinds.lookback import Recall, look_back
from fulcrum.features.kinds.recall import PREFIX, RecallKind
from fulcrum.features.kinds.vocabulary import Buckets, Lookup, Vocabulary
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.known import columns, log_end, ripe, ripe_labels
from fulcrum.features.raw.label import check_labels, describe, label_columns, label_names
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.raw.pivot import pivot
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.past import TIME, clocks_of, gather, with_time
from fulcrum.features.transform.state import FeatureState, past_names, row_names, schema_of
from fulcrum.features.transform.uses import open_tables, reads


def fit(train: pl.LazyFrame, past: pl.LazyFrame | None, spec: FeatureSpec) -> FeatureState:
    """Learn from the training split alone.

    Args:
        train: raw training rows, outcomes included.
        past: raw events that training rows may look back on; those of later splits do no harm,
            as only what lies strictly before a row counts for it.
        spec: what to learn; its side tables are read from their files.

    Raises ConfigError and DataError for what does not fit together.
    """
    spec.check()
    sources = open_tables(spec.data, reads(spec), train.collect_schema())
    tables = {name: source.frame for name, source in sources.items()}
    logs = [train] if past is None or not spec.looking_back else [train, past]
    ends = [end for log in logs if (end := _end(log, spec, tables)) is not None]
    train = train if spec.data.pivot is None else pivot(train, spec.data).rows
    draft = fit_ids(train, spec, tables, end=max(ends, default=None))
    events = pl.LazyFrame(schema=draft.past_columns) if past is None else past
    return fit_numbers(train, draft, _seen(train, draft, events))


def fit_ids(
    train: pl.LazyFrame,
    spec: FeatureSpec,
    tables: Mapping[str, pl.LazyFrame],
    fingerprint: str = "",
    end: int | None = None,
) -> FeatureState:
    """First half of `fit`: a state with vocabularies and tasks, which can gather past events. `end`
    is that of the log (`raw.known.log_end`): what was not known then teaches nothing."""
    lineage = _lineage(train, spec, tables)
    past_columns = lineage.needs(past_names(spec)).columns
    made = set() if spec.data.pivot is None else set(spec.data.pivot.columns)
    needs = lineage.needs([*row_names(spec), *past_names(spec)])
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    rows = complete(train.select(*needs.columns), needs, spec.data, side_tables)
    return FeatureState(
        spec=spec,
        layout=Layout(tables=(), tasks=_tasks(train, spec, lineage, tables, end)),
        row_columns=lineage.needs(row_names(spec)).columns,
        past_columns={name: t for name, t in past_columns.items() if name not in made},
        tables=side_tables,
        lookups=_lookups(rows, spec, lineage),
        learned=dict.fromkeys(spec.features, Learned()),
        bases=_bases(rows, spec, lineage, end),
        fingerprint=fingerprint,
    )


def fit_numbers(
    train: pl.LazyFrame, draft: FeatureState, seen: pl.LazyFrame, folder: Path | None = None
) -> FeatureState:
    """Second half: moments and edges, which for features that look back are those of what training
    rows have `seen` (`kinds.lookback.look_back`), one row for each. With a folder, these numbers go
    through it and not through memory."""
    spec, needs = draft.spec, draft.row_needs
    rows = complete(train.select(*needs.columns), needs, spec.data, draft.tables)
    encoders = spec.encoders
    recalls = _recalls(spec)
    if recalls:
        seen = seen.select(PREFIX + name for name in recalls)
        if folder is None:
            seen = seen.collect().lazy()
        else:
            seen.sink_parquet(folder / "recalls.parquet", maintain_order=True)
            seen = pl.scan_parquet(folder / "recalls.parquet", glob=False)
    learned = {
        name: encoder.learn(name, seen if name in recalls else rows, draft.schema(name))
        for name, encoder in encoders.items()
    }
    state = replace(draft, learned=learned)
    return replace(state, layout=state.arranged())


def _recalls(spec: FeatureSpec) -> dict[str, RecallKind]:
    """Features that learn from what they see."""
    encoders = spec.encoders
    return {n: f for n, f in spec.looking_back.items() if encoders[n].learned is not Learned}


def _seen(train: pl.LazyFrame, draft: FeatureState, events: pl.LazyFrame) -> pl.LazyFrame:
    """What these see of raw events from training rows."""
    recalls, needs = _recalls(draft.spec), draft.row_needs
    if not recalls:
        return pl.LazyFrame()
    rows = complete(train.select(*needs.columns), needs, draft.spec.data, draft.tables)
    rows = with_time(rows, draft, "the training rows")
    recall = Recall(recalls, TIME, draft.bases, clocks_of(draft))
    return look_back(rows, gather(events, draft), recall)


def _lineage(rows: pl.LazyFrame, spec: FeatureSpec, tables: Mapping[str, pl.LazyFrame]) -> Lineage:
    schemas = {name: dict(table.collect_schema()) for name, table in tables.items()}
    return Lineage(spec.data, dict(rows.collect_schema()), schemas)


def _end(rows: pl.LazyFrame, spec: FeatureSpec, tables: Mapping[str, pl.LazyFrame]) -> int | None:
    return log_end(rows, _lineage(rows, spec, tables), tables)


def _bases(
    rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage, end: int | None
) -> dict[str, float]:
    """Those of windows that wait for outcomes each over the rows where these are known."""
    bases = {n: e.alias(n) for n, f in spec.looking_back.items() if (e := f.base()) is not None}
    waiting = {} if end is None else {n: spec.clocks[n] for n in bases if n in spec.clocks}
    values = _over(rows, [base for name, base in bases.items() if name not in waiting])
    for name, clock in waiting.items():
        assert end is not None
        known_rows = rows.filter(ripe(clock.outcomes, spec.data, lineage.dtype, end))
        values |= _over(known_rows, [bases[name]])
    return {name: values[name] for name in bases}


def _over(rows: pl.LazyFrame, means: Sequence[pl.Expr]) -> dict[str, float]:
    """Means of all rows in one chunk: how rows are split must not decide the last bit."""
    columns = {column for mean in means for column in mean.meta.root_names()}
    frame = rows.select(sorted(columns)).collect().rechunk()
    return frame.select(means).row(0, named=True) if means else {}


def _lookups(rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage) -> dict[str, Lookup]:
    """The vocabularies of all features, in one pass over the training rows."""
    parts = {
        name: encoder.vocabulary(name, schema_of(name, spec, lineage))
        for name, encoder in spec.encoders.items()
    }
    counts = {name: part for name, part in parts.items() if isinstance(part, Counts)}
    frames = count(rows, counts)
    lookups: dict[str, Lookup] = {}
    for name, part in parts.items():
        if isinstance(part, Buckets):
            lookups[name] = part
        elif part is not None:
            lookups[name] = Vocabulary(frames[name])
    return lookups


def _tasks(
    train: pl.LazyFrame,
    spec: FeatureSpec,
    lineage: Lineage,
    tables: Mapping[str, pl.LazyFrame],
    end: int | None,
) -> tuple[TaskSpec, ...]:
    names = label_names(spec.tasks)
    times = [c for outcomes in spec.unripe.values() for c in columns(outcomes, spec.data)]
    needs = lineage.needs([*names, *times])
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    rows = complete(train.select(*needs.columns), needs, spec.data, side_tables)
    schema = {name: lineage.dtype(name) for name in names}
    check_labels(rows, spec.tasks, schema)
    labels = label_columns(spec.tasks, schema, ripe_labels(spec, lineage, end))
    return describe(rows.select(labels), spec.tasks)
