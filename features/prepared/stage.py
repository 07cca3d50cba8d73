"""The rows of a log in Arrow files: cleaned, labelled, with every column that is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.declared.arms import WINDOW, ArmsConfig, arm_columns
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.session import KEY
from fulcrum.features.declared.split import FILE, INDEX, TIME, FileSplit, split_column
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import ConfigError, DataError
from fulcrum.features.prepared.columns import check_columns
from fulcrum.features.prepared.inputs import Inputs
from fulcrum.features.prepared.values import check_values, refuse_untimed
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.instant import microseconds, moment
from fulcrum.features.raw.known import log_end, ripe_labels
from fulcrum.features.raw.label import label_columns
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.raw.pivot import check, impressions, pivot, relevant
from fulcrum.features.spec import RESERVED, FeatureSpec, places
from fulcrum.features.values import sql
from fulcrum.features.values.hashing import hash64
from fulcrum.features.values.text import key_text

KEPT, CONTENT = "row.kept", "row.content"
"""Whether a row meets `data.where`; a hash of all that its file says of it."""
NOBODY = 0
"""`row.group` of a row whose key names nobody, and of all rows without `data.group`."""
JOINED, LONE = "joined to impressions", "without an impression"
"""What becomes of the behaviours of a long log."""
ROW_GROUP = 16_384
"""Polars reads about 15 of them ahead of what is written, so small ones save memory."""
FILE_ROWS = 131_072
"""Staged rows in a file, which stays mapped into memory until it is read to its end."""


@dataclass(frozen=True)
class Stage:
    """The staged rows."""

    rows: pl.LazyFrame
    """Raw columns, `label.*`, `observed.*`, `row.*`; those that meet `where`, in file order."""
    raw: tuple[str, ...]
    """The raw columns among them."""
    total: int
    """Rows in the files."""
    drops: dict[str, int]
    """Rows that are not here, by reason."""
    repeated: int
    """Rows that say exactly what another one says."""
    end: int | None
    """As of `raw.known.log_end`."""


def stage(spec: FeatureSpec, inputs: Inputs, folder: Path) -> Stage:
    """Write `rows/*.ipc` into a folder, streaming, and check every value that training needs.

    Raises DataError for a missing column, and values that are no times, labels or weights;
    PolarsError, which `explain` explains, for what cannot be read or computed.
    """
    log = inputs.log
    tables = {name: source.frame for name, source in inputs.tables.items()}
    total = log.select(pl.len()).collect().item()
    events, drops = (log, {}) if spec.data.pivot is None else _pivoted(log, total, spec.data)
    lineage = inputs.lineage(events, spec.data)
    check_columns(spec, lineage, [events, *tables.values()])
    end = log_end(log, lineage, tables)
    plan, raw = _plan(events, tables, spec, lineage, end)
    # It is read many times and kept for minutes: Parquet would take longer than everything else.
    files = pl.PartitionBy(folder / "rows", max_rows_per_file=FILE_ROWS)
    plan.sink_ipc(files, record_batch_size=ROW_GROUP, maintain_order=True, mkdir=True)
    rows = pl.scan_ipc(sorted((folder / "rows").iterdir()), glob=False)
    rest = total - sum(drops.values())
    drops["repeated"] = rest - rows.select(pl.len()).collect().item()
    if spec.data.where is not None:
        drops["where"] = rows.select((~pl.col(KEPT)).sum()).collect().item()
        rows = rows.filter(KEPT).drop(KEPT)
    if sum(drops.values()) == total:
        raise DataError(f"data.where: no row meets `{spec.data.where}`")
    repeated = _repeated(rows)
    rows = rows.drop(CONTENT, strict=False).with_row_index(INDEX)
    check_values(rows, spec, lineage, tables)
    return Stage(rows, raw, total, drops, repeated, end)


def _pivoted(
    log: pl.LazyFrame, total: int, data: DataConfig
) -> tuple[pl.LazyFrame, dict[str, int]]:
    """The impressions of a long log, once all that is asked of it is right, and the number of its
    other rows by what becomes of them."""
    check(log, data)
    assert data.pivot is not None
    assert data.time is not None
    dtype = log.collect_schema()[data.time.column]
    known = relevant(log, data.pivot).with_columns(microseconds(data.time, dtype).alias(TIME))
    refuse_untimed(known, data.time, dtype)
    rows, joined = pivot(log, data)
    count, kept = (
        frame.select(pl.len()).collect().item() for frame in (known, impressions(log, data.pivot))
    )
    return rows, {JOINED: joined, LONE: count - kept - joined, "of other actions": total - count}


def _plan(
    events: pl.LazyFrame,
    tables: Mapping[str, pl.LazyFrame],
    spec: FeatureSpec,
    lineage: Lineage,
    end: int | None,
) -> tuple[pl.LazyFrame, tuple[str, ...]]:
    data = spec.data
    needs = lineage.needs(_names(spec))
    for name in needs.columns:
        if name.startswith(tuple(f"{word}." for word in RESERVED)) and name != FILE:
            raise DataError(f"data.events: the column name `{name}` is reserved; rename it")
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    columns = [name for name in lineage.events if name != FILE]
    # Of each column for itself, modulo 2^64: a hash of structs takes four times as long.
    hashes = [pl.col(name).hash(seed=place) for place, name in enumerate(columns)]
    content = [] if data.deduplicate else [pl.sum_horizontal(hashes).alias(CONTENT)]
    if data.deduplicate:
        events = events.unique(subset=columns, keep="first", maintain_order=True)
    schema = {sql.value(text): lineage.dtype(sql.value(text)) for text in needs.expressions}
    additions = [
        *label_columns(spec.tasks, schema, ripe_labels(spec, lineage, end)),
        *_row_columns(data, lineage),
        *(pl.col(name).alias(split_column(name)) for name in data.split.reads),
    ]
    events = events.select(*needs.columns, *content)
    rows = complete(events, needs, data, side_tables)
    rows = rows.select(*needs.columns, *(e.meta.output_name() for e in content), *additions)
    return rows, tuple(n for n in needs.columns if n != FILE)


def _names(spec: FeatureSpec) -> list[str]:
    """Everything that anything reads."""
    files = [FILE] if isinstance(spec.data.split, FileSplit) else []
    return [*(name for _, name in places(spec)), *files]


def _row_columns(data: DataConfig, lineage: Lineage) -> list[pl.Expr]:
    weight, group = pl.lit(1.0), pl.lit(NOBODY)
    if data.weight is not None:
        weight = pl.col(sql.value(data.weight))
    if data.group is not None:
        key = key_text(pl.col(data.group), lineage.dtype(data.group))
        group = hash64(key).reinterpret(signed=True).fill_null(NOBODY)
    columns = [
        weight.cast(pl.Float32).alias("row.weight"),
        group.cast(pl.Int64).alias("row.group"),
        *(pl.col(key).alias(f"row.key.{key}") for key in data.keys),
    ]
    if data.arms is not None:
        columns += arm_columns(data.arms, lineage.dtype)
        if data.arms.changes:
            columns.append(_window(data.arms, data.time, lineage))
    if data.time is not None:
        columns.append(microseconds(data.time, lineage.dtype(data.time.column)).alias(TIME))
    if data.session is not None:
        key = key_text(pl.col(data.session.key), lineage.dtype(data.session.key))
        columns.append(hash64(key).alias(KEY))
    if data.where is not None:
        condition = pl.col(sql.value(data.where)).cast(pl.Boolean).fill_null(False)
        columns.append(condition.alias(KEPT))
    return columns


def _window(arms: ArmsConfig, time: TimeConfig | None, lineage: Lineage) -> pl.Expr:
    if time is None:
        raise ConfigError("data.arms.changes: needs `data.time`")
    changes = [
        moment(text, time.zone, f"data.arms.changes.{place}")
        for place, text in enumerate(arms.changes)
    ]
    when = microseconds(time, lineage.dtype(time.column))
    return pl.sum_horizontal((when >= at).cast(pl.Int32) for at in changes).alias(WINDOW)


def _repeated(rows: pl.LazyFrame) -> int:
    if CONTENT not in rows.collect_schema():
        return 0
    content = np.sort(rows.select(CONTENT).collect().to_series().to_numpy())
    return int((content[1:] == content[:-1]).sum())
