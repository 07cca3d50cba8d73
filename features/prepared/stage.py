"""The rows of a log in one Parquet file: cleaned, labelled, with every column that is read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.declared.arms import arm_columns, check_arms
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.session import KEY
from fulcrum.features.declared.split import FILE, INDEX, TIME, FileSplit, split_column
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.files.source import Source, scan_all
from fulcrum.features.prepared.manifest import Stamp
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.instant import check_times, microseconds
from fulcrum.features.raw.known import known_times, log_end, ripe_labels
from fulcrum.features.raw.label import check_labels, label_columns, label_names
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.raw.misfit import misfit, row_of
from fulcrum.features.raw.pivot import check, impressions, pivot, relevant
from fulcrum.features.spec import RESERVED, FeatureSpec, Problem, places
from fulcrum.features.staging import is_full
from fulcrum.features.transform.state import past_names, row_names, schema_of
from fulcrum.features.transform.uses import open_tables, reads
from fulcrum.features.values import sql
from fulcrum.features.values.hashing import hash64
from fulcrum.features.values.schema import is_storable
from fulcrum.features.values.text import is_id, key_text

KEPT, CONTENT = "row.kept", "row.content"
"""Whether a row meets `data.where`; a hash of all that its file says of it."""
NOBODY = 0
"""`row.group` of a row whose key names nobody, and of all rows without `data.group`."""
JOINED, LONE = "joined to impressions", "without an impression"
"""What becomes of the behaviours of a long log."""
ROW_GROUP = 16_384
"""Polars reads about 15 row groups ahead of what is written, so small ones save memory."""

_EXPECTED = {"where": "a condition", "when": "a condition", "weight": "numbers"}
"""Of expressions, by the last word of their place."""
_ONE_ID = ("group", "session", "arms", "split")
"""Entries of `data` that name a column of ids."""

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Inputs:
    """Every file that a data set is made of."""

    events: Mapping[str, Source]
    """By split for `kind: files`, else all under `train`."""
    tables: Mapping[str, Source]

    @property
    def sources(self) -> list[Source]:
        return [*self.events.values(), *self.tables.values()]

    @property
    def stamps(self) -> list[Stamp]:
        """What must be equal for the data to count as unchanged."""
        return [stamp for source in self.sources for stamp in source.stamp]


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


def stage(spec: FeatureSpec, inputs: Inputs, folder: Path) -> Stage:
    """Write `rows.parquet` into a folder, streaming, and check every value that training needs.

    Raises DataError for a missing column, and values that are no times, labels or weights;
    PolarsError, which `explain` explains, for what cannot be read or computed.
    """
    log = _events(inputs)
    tables = {name: source.frame for name, source in inputs.tables.items()}
    total = log.select(pl.len()).collect().item()
    events, drops = (log, {}) if spec.data.pivot is None else _pivoted(log, total, spec.data)
    lineage = _lineage(events, spec, inputs)
    _check_columns(spec, lineage, [events, *tables.values()])
    file = folder / "rows.parquet"
    end = log_end(log, lineage, tables)
    plan, raw = _plan(events, tables, spec, lineage, end)
    plan.sink_parquet(file, row_group_size=ROW_GROUP, compression="lz4", maintain_order=True)
    rows = pl.scan_parquet(file, glob=False)
    rest = total - sum(drops.values())
    drops["repeated"] = rest - rows.select(pl.len()).collect().item()
    if spec.data.where is not None:
        drops["where"] = rows.select((~pl.col(KEPT)).sum()).collect().item()
        rows = rows.filter(KEPT).drop(KEPT)
    if sum(drops.values()) == total:
        raise DataError(f"data.where: no row meets `{spec.data.where}`")
    repeated = _repeated(rows)
    rows = rows.drop(CONTENT, strict=False).with_row_index(INDEX)
    _check_times(rows, spec, lineage, tables)
    _check_weights(rows, spec.data)
    if spec.data.arms is not None:
        check_arms(rows, spec.data.arms)
    _check_labels(rows, spec, lineage, tables)
    return Stage(rows, raw, total, drops, repeated, end)


def _events(inputs: Inputs) -> pl.LazyFrame:
    if len(inputs.events) == 1:
        return inputs.events["train"].frame
    return pl.concat(
        source.frame.with_columns(pl.lit(split).alias(FILE))
        for split, source in inputs.events.items()
    )


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
    _refuse_untimed(known, data.time, dtype)
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
    content = [] if data.deduplicate else [pl.struct(columns).hash(seed=0).alias(CONTENT)]
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


def _check_columns(spec: FeatureSpec, lineage: Lineage, frames: Sequence[pl.LazyFrame]) -> None:
    """Raises DataError with every place of the config that names a column which is not there, or
    is not what it should be; `frames` hold examples."""
    for name, table in spec.data.tables.items():
        if table.key not in lineage.tables[name]:
            hint = nearest(table.key, lineage.tables[name])
            raise DataError(f"data.tables.{name}.key: it has no column `{table.key}`{hint}")
    faults: dict[str, Problem] = {}
    for path, name in places(spec):
        try:
            lineage.dtype(name)
        except DataError as error:
            faults.setdefault(str(error), Problem(path, str(error)))
    for problems in (_misfits(spec, lineage, frames), _uncarried(spec, lineage)):
        if not faults:
            faults = {str(problem): problem for problem in problems}
    if faults:
        raise DataError("\n".join(map(str, faults.values())))


def _misfits(
    spec: FeatureSpec, lineage: Lineage, frames: Sequence[pl.LazyFrame]
) -> Iterator[Problem]:
    """Columns that are not what they are declared to be."""
    for name, encoder in spec.encoders.items():
        try:
            encoder.missing(name, schema_of(name, spec, lineage))
        except DataError as error:
            message = str(error).removeprefix(f"features.{name}: ")
            columns = [r.text for r in spec.features[name].reads(name, spec.features) if not r.id]
            yield Problem(("features", name), message + _word(columns, frames))
    for path, name in places(spec):
        one = path[1] in _ONE_ID if path[0] == "data" else path[2:] == ("key",)
        if one and not is_id(lineage.dtype(name)):
            yield Problem(path, f"column `{name}` is {lineage.dtype(name)}; expected ids")
        dtype = lineage.dtype(name)
        expected = _EXPECTED.get(str(path[-1])) if name.startswith("=") else None
        if expected and not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
            yield Problem(path, f"`{name[1:]}` is {dtype}; expected {expected}")


def _word(columns: Sequence[str], frames: Sequence[pl.LazyFrame]) -> str:
    """`; it holds 'n/a'`, of the first column of text that holds what is no number."""
    for frame, column in product(frames, columns):
        if frame.collect_schema().get(column) == pl.String():
            value = pl.col(column).drop_nulls()
            words = value.filter(value.cast(pl.Float64, strict=False).is_null())
            for word in frame.select(words.first()).collect().to_series().drop_nulls():
                return f"; it holds {word!r}"
    return ""


def _uncarried(spec: FeatureSpec, lineage: Lineage) -> Iterator[Problem]:
    """Columns that a row to be scored, or an event to be remembered, cannot carry."""
    carried = {*row_names(spec), *past_names(spec), *spec.data.keys}
    for path, name in places(spec):
        for column, dtype in lineage.needs([name] if name in carried else []).columns.items():
            if not is_storable(dtype):
                message = f"column `{column}` is {dtype}, which a row to be scored cannot carry"
                yield Problem(path, f"{message}; expected numbers, text, times or lists of them")


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
    if data.time is not None:
        columns.append(microseconds(data.time, lineage.dtype(data.time.column)).alias(TIME))
    if data.session is not None:
        key = key_text(pl.col(data.session.key), lineage.dtype(data.session.key))
        columns.append(hash64(key).alias(KEY))
    if data.where is not None:
        condition = pl.col(sql.value(data.where)).cast(pl.Boolean).fill_null(False)
        columns.append(condition.alias(KEPT))
    return columns


def _repeated(rows: pl.LazyFrame) -> int:
    if CONTENT not in rows.collect_schema():
        return 0
    content = np.sort(rows.select(CONTENT).collect().to_series().to_numpy())
    return int((content[1:] == content[:-1]).sum())


def _check_times(
    rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage, tables: Mapping[str, pl.LazyFrame]
) -> None:
    time = spec.data.time
    if time is None:
        return
    without = rows.filter(pl.col(TIME).is_null())
    raw = _with_columns(without, [time.column], spec, lineage, tables)
    dtype = lineage.dtype(time.column)
    _refuse_untimed(raw.with_columns(microseconds(time, dtype).alias(TIME)), time, dtype)
    # The times of `data.pivot` are those of rows, and were looked at before.
    for name in (name for name in spec.data.late if name in spec.data.outcomes):
        for late in known_times([name], spec.data):
            raw = _with_columns(rows, [late.column], spec, lineage, tables)
            dtype = lineage.dtype(late.column)
            timed = raw.with_columns(microseconds(late, dtype).alias(TIME))
            check_times(timed, TIME, late, dtype, f"data.outcomes.{name}.known_at")


def _refuse_untimed(rows: pl.LazyFrame, time: TimeConfig, dtype: pl.DataType) -> None:
    """Raises DataError for rows without a time or with one that is none."""
    count = rows.filter(pl.col(TIME).is_null()).select(pl.len()).collect().item()
    if count:
        check_times(rows, TIME, time, dtype, "data.events")
        raise DataError(
            f"data.time.column: {count} rows have no time in `{time.column}`, for example null "
            "(`data.derive` can make one, `data.where` can leave rows out)"
        )


def _check_weights(rows: pl.LazyFrame, data: DataConfig) -> None:
    weight = pl.col("row.weight")
    bad = (
        rows.select((~(weight.is_finite() & (weight >= 0))).fill_null(True).sum()).collect().item()
    )
    if bad:
        raise DataError(
            f"data.weight: `{data.weight}` is null, negative or no finite Float32 in {bad} rows"
        )
    if data.weight is not None and not rows.select((weight > 0).any()).collect().item():
        raise DataError(f"data.weight: `{data.weight}` is 0 in every row")


def _check_labels(
    rows: pl.LazyFrame, spec: FeatureSpec, lineage: Lineage, tables: Mapping[str, pl.LazyFrame]
) -> None:
    names = label_names(spec.tasks)
    raw = _with_columns(rows, names, spec, lineage, tables)
    check_labels(raw, spec.tasks, {name: lineage.dtype(name) for name in names})


def _with_columns(
    rows: pl.LazyFrame,
    names: Sequence[str],
    spec: FeatureSpec,
    lineage: Lineage,
    tables: Mapping[str, pl.LazyFrame],
) -> pl.LazyFrame:
    """Staged rows with the columns that some names stand for."""
    needs = lineage.needs(names)
    side_tables = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    return complete(rows.select(*needs.columns), needs, spec.data, side_tables)


def explain(error: PolarsError, inputs: Inputs, spec: FeatureSpec) -> Exception:
    """What stopped the preparation: a damaged file is told by its name, a value that an expression
    does not take by its row."""
    damage = next(filter(None, (source.damage() for source in inputs.sources)), None)
    if damage is None and is_full(error):
        return error
    if damage is None:
        events = _events(inputs)
        if spec.data.pivot is not None:
            events = pivot(events, spec.data).rows
        lineage, wanted = _lineage(events, spec, inputs), list(places(spec))
        needs = lineage.needs([name for _, name in wanted])
        tables = {n: prune(n, inputs.tables[n].frame, needs, lineage) for n in needs.tables}
        for source in inputs.events.values():
            rows = source.frame.with_row_index(INDEX)
            if spec.data.pivot is not None:
                rows = pivot(rows, spec.data).rows
            if fault := misfit(rows, wanted, lineage, tables):
                place = rows.select(INDEX).slice(fault[1], 1).collect().item()
                return DataError(f"{fault[0]} ({row_of(source.parts, place)})")
    return DataError(damage or f"data: {str(error).strip().splitlines()[0]}")


def _lineage(events: pl.LazyFrame, spec: FeatureSpec, inputs: Inputs) -> Lineage:
    tables = {name: source.schema for name, source in inputs.tables.items()}
    return Lineage(spec.data, dict(events.collect_schema()), tables)
