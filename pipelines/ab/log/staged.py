"""The log of a test: every row with all that the analysis asks of it, in one Parquet file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.cause import first_line
from fulcrum.features.declared.csv import CsvConfig
from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.time import TimeConfig
from fulcrum.features.errors import ConfigError, DataError
from fulcrum.features.files.reads import Reads
from fulcrum.features.files.source import Source, scan
from fulcrum.features.prepared.stage import ROW_GROUP
from fulcrum.features.raw.complete import complete, prune
from fulcrum.features.raw.instant import microseconds
from fulcrum.features.raw.lineage import Lineage
from fulcrum.features.raw.misfit import misfit
from fulcrum.features.spec import FeatureSpec, Problem, mentions, places
from fulcrum.features.transform.uses import open_tables, reads
from fulcrum.features.values import sql
from fulcrum.features.values.schema import load_schema
from fulcrum.features.values.text import key_text, text
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment, MeanMetric, interference
from fulcrum.serving.experiments.exposure_log import read_assignments, read_log

UNIT, ARM, TIME = "test.unit", "test.arm", "test.time"
INSTANCE, VERSION = "test.instance", "test.version"
"""Columns of every row: who (null where the log names nobody), where (null outside the test), when
(Int64 microseconds, null where the log has no time), which instance of the arm's model (null where
each arm has one), and of which version (null where the log does not say)."""
KEPT, CONTENT = "test.kept", "test.content"
"""Whether the row meets `where`; a hash of all that the log says of it."""
PROPENSITY, ACTION, CONTEXT = "test.propensity", "test.action", "test.context"
SERVED = "exposures"
"""The folder that tells a log that the service wrote from other files."""


def numerator(metric: str) -> str:
    """Column of what a row adds to a metric; null where its outcome is missing."""
    return f"test.numerator.{metric}"


def denominator(metric: str) -> str:
    """Column of what a row adds to a metric's denominator."""
    return f"test.denominator.{metric}"


def segment(name: str) -> str:
    """Column of the row's segment."""
    return f"test.segment.{name}"


@dataclass(frozen=True)
class Log:
    """The rows of a test and of the time before it."""

    file: Path
    data: DataConfig
    """Reads `file` with side tables and derived columns, for what works on features."""
    read: int
    """Rows in the files."""
    assigned: dict[str, int] | None
    """Units by arm that the service assigned, whether or not it showed them anything; None for
    other logs."""

    @property
    def rows(self) -> pl.LazyFrame:
        """All of them."""
        return pl.scan_parquet(self.file, glob=False)


def stage(logs: Sequence[str], experiment: Experiment, folder: Path) -> Log:
    """Read files, a folder or a glob, or what `fulcrum serve` logged, and write `rows.parquet`.

    Raises DataError for what is missing or unreadable, for columns that are not there (with the
    nearest that is), and for metrics that are no numbers.
    """
    analysis = experiment.analysis
    if analysis is None:
        raise ConfigError("the experiment has no `analysis`, which says what to ask of the log")
    served = next((Path(log) for log in logs if Path(log, SERVED).is_dir()), None)
    unit, log = experiment.unit, analysis.log
    if served is not None:
        unit = "unit"
        time = log.time or TimeConfig(column="time")
        names = {"instance": log.instance or "instance", "version": log.version or "version"}
        log = log.model_copy(update={"time": time, **names})
        analysis = analysis.model_copy(update={"log": log})
    file = folder / "rows.parquet"
    _check_interference(analysis, unit, experiment.outcomes)
    data = DataConfig(events=str(file), tables=log.tables, time=log.time, derive=log.derive)
    read = _reads(data, unit, analysis)
    source: Source | None = None
    try:
        events, source = _events(logs, served, read, log.csv)
        sources = open_tables(data, read, events.collect_schema(), "analysis.log.tables")
        tables = {name: source.frame for name, source in sources.items()}
        plan = _plan(events, tables, data, unit, analysis)
        plan.sink_parquet(file, row_group_size=ROW_GROUP, compression="lz4")
    except DataError as error:
        raise DataError(_here(str(error))) from error
    except PolarsError as error:
        damage = source.damage() if source is not None else None
        raise DataError(damage or _explain(error, events, tables, data, unit, analysis)) from error
    count = pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
    return Log(file, data, count, None if served is None else _assigned(served))


def _reads(data: DataConfig, unit: str | None, analysis: AnalysisConfig) -> Reads:
    """What is read of the log; its rows are told apart by all columns."""
    log, off, own = analysis.log, analysis.off_policy, analysis.interference
    names = [name for _, name in _wanted(unit, analysis)]
    times = [] if log.time is None else [log.time.column]
    numbers = {*times, *([] if off is None else [off.propensity])}
    features = reads(FeatureSpec(data=data, features=own.features if own else {}, tasks={}))
    return Reads(
        ids=features.ids.union(n for n in names if not n.startswith("=") and n not in numbers),
        numbers=features.numbers.union(numbers),
        mentions=features.mentions.union(
            column for name in names if name.startswith("=") for column in mentions(name[1:])
        ),
        types=load_schema(log.types),
        optional=frozenset(log.optional),
        time=log.time,
    )


def _events(
    logs: Sequence[str], served: Path | None, read: Reads, csv: CsvConfig
) -> tuple[pl.LazyFrame, Source | None]:
    if served is None:
        source = scan(list(logs), "the log", read, csv)
        return source.frame, source
    if len(logs) > 1:
        raise DataError(f"{served} is a log of the service; expected it alone, not {len(logs)}")
    return read_log(served), None


def _assigned(served: Path) -> dict[str, int]:
    counts = read_assignments(served).group_by("arm").len().sort("arm").collect()
    return dict(counts.drop_nulls().iter_rows())


def _plan(
    events: pl.LazyFrame,
    tables: dict[str, pl.LazyFrame],
    data: DataConfig,
    unit: str | None,
    analysis: AnalysisConfig,
) -> pl.LazyFrame:
    """What is read, joined and computed for each row."""
    lineage = _lineage(events, tables, data)
    wanted = dict(_wanted(unit, analysis))
    raw = _features(data, analysis)
    _check_columns([*wanted.items(), *raw], lineage)
    needs = lineage.needs([*wanted.values(), *(name for _, name in raw)])
    pruned = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    content = pl.struct(pl.all()).hash(seed=0).alias(CONTENT)
    rows = complete(events.with_columns(content), needs, data, pruned)
    if unit is None:
        rows = rows.with_row_index("test.index")
    columns = lineage.needs([name for _, name in raw]).columns
    return rows.select(*columns, *_columns(unit, analysis, lineage), CONTENT)


def _explain(
    error: PolarsError,
    events: pl.LazyFrame,
    tables: dict[str, pl.LazyFrame],
    data: DataConfig,
    unit: str | None,
    analysis: AnalysisConfig,
) -> str:
    lineage = _lineage(events, tables, data)
    derived = ((("analysis", "log", "derive", name), name) for name in data.derive)
    wanted = [*derived, *_wanted(unit, analysis), *_features(data, analysis)]
    needs = lineage.needs([name for _, name in wanted])
    pruned = {name: prune(name, tables[name], needs, lineage) for name in needs.tables}
    fault = misfit(events, wanted, lineage, pruned)
    if fault is None:
        return f"the log: {first_line(error)}"
    return f"{fault[0]} (row {fault[1] + 1:,} of the log)"


def _lineage(events: pl.LazyFrame, tables: dict[str, pl.LazyFrame], data: DataConfig) -> Lineage:
    schemas = {name: dict(table.collect_schema()) for name, table in tables.items()}
    return Lineage(data, dict(events.collect_schema()), schemas)


def _wanted(unit: str | None, analysis: AnalysisConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Places of the YAML and the column or expression that each names."""
    log, off = analysis.log, analysis.off_policy
    if unit is not None:
        yield ("unit",), unit
    yield ("analysis", "log", "arm"), log.arm
    if log.instance is not None:
        yield ("analysis", "log", "instance"), log.instance
    if log.version is not None:
        yield ("analysis", "log", "version"), log.version
    if log.time is not None:
        yield ("analysis", "log", "time", "column"), log.time.column
    if log.where is not None:
        yield ("analysis", "log", "where"), sql.value(log.where)
    for name, metric in analysis.metrics.items():
        at = ("analysis", "metrics", name)
        for part, text_ in _parts(metric):
            yield (*at, part), sql.value(text_)
    for name, text_ in analysis.segments.items():
        yield ("analysis", "segments", name), sql.value(text_)
    if off is not None:
        yield ("analysis", "off_policy", "propensity"), off.propensity
        yield ("analysis", "off_policy", "action"), off.action
        for place, name in enumerate(off.context):
            yield ("analysis", "off_policy", "context", str(place)), name


def _parts(metric: object) -> Iterator[tuple[str, str]]:
    if isinstance(metric, MeanMetric):
        yield "value", metric.value
    else:
        yield "numerator", metric.numerator  # type: ignore[attr-defined]
        yield "denominator", metric.denominator  # type: ignore[attr-defined]


def _features(data: DataConfig, analysis: AnalysisConfig) -> list[tuple[tuple[str, ...], str]]:
    """Places and names of what is read to prepare the features of the interference panel."""
    if analysis.interference is None:
        return []
    spec = FeatureSpec(data=data, features=analysis.interference.features, tasks={})
    roots = {"data": ("analysis", "log"), "features": ("analysis", "interference", "features")}
    return [((*roots[str(path[0])], *map(str, path[1:])), name) for path, name in places(spec)]


def _check_interference(
    analysis: AnalysisConfig, unit: str | None, outcomes: tuple[str, ...]
) -> None:
    """The service calls the unit `unit`, whatever the experiment does."""
    leaks = list(interference(analysis, unit, outcomes))
    if leaks:
        raise ConfigError("\n".join(map(str, leaks)))


def _check_columns(wanted: Sequence[tuple[tuple[str, ...], str]], lineage: Lineage) -> None:
    problems: dict[str, Problem] = {}
    for path, name in wanted:
        try:
            lineage.dtype(name)
        except DataError as error:
            problems.setdefault(str(error), Problem(path, str(error)))
    if problems:
        raise DataError("\n".join(map(str, problems.values())))


def _columns(unit: str | None, analysis: AnalysisConfig, lineage: Lineage) -> Iterator[pl.Expr]:
    log, off = analysis.log, analysis.off_policy
    who = pl.col("test.index").cast(pl.String) if unit is None else _key(unit, lineage)
    yield who.alias(UNIT)
    yield _key(log.arm, lineage).alias(ARM)
    when = pl.lit(None, pl.Int64)
    if log.time is not None:
        when = microseconds(log.time, lineage.dtype(log.time.column))
    yield when.alias(TIME)
    for column, name in ((INSTANCE, log.instance), (VERSION, log.version)):
        value = pl.lit(None, pl.String) if name is None else _text(name, lineage)
        yield value.alias(column)
    keep = pl.lit(True)
    if log.where is not None:
        keep = pl.col(sql.value(log.where)).cast(pl.Boolean).fill_null(False)
    yield keep.alias(KEPT)
    for name, metric in analysis.metrics.items():
        at = f"analysis.metrics.{name}"
        parts = dict(_parts(metric))
        first, *rest = parts
        yield _number(sql.value(parts[first]), lineage, f"{at}.{first}").alias(numerator(name))
        for part in rest:
            value = _number(sql.value(parts[part]), lineage, f"{at}.{part}")
            yield value.fill_null(0.0).alias(denominator(name))
    for name, expression in analysis.segments.items():
        yield _text(sql.value(expression), lineage).fill_null("unknown").alias(segment(name))
    if off is not None:
        chance = _number(off.propensity, lineage, "analysis.off_policy.propensity")
        yield chance.alias(PROPENSITY)
        yield _text(off.action, lineage).alias(ACTION)
        context = [_text(name, lineage).fill_null("") for name in off.context]
        whole = pl.concat_str(context, separator=", ") if context else pl.lit("")
        yield whole.alias(CONTEXT)


def _text(name: str, lineage: Lineage) -> pl.Expr:
    return text(pl.col(name), lineage.dtype(name))


def _key(name: str, lineage: Lineage) -> pl.Expr:
    return key_text(pl.col(name), lineage.dtype(name))


def _number(name: str, lineage: Lineage, place: str) -> pl.Expr:
    dtype = lineage.dtype(name)
    if not (dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)):
        raise DataError(f"{place}: `{name.removeprefix('=')}` is {dtype}; expected numbers")
    return pl.col(name).cast(pl.Float64).fill_nan(None)


def _here(message: str) -> str:
    """Columns are followed as in a run, whose `data` is the experiment's `analysis.log`."""
    message = message.replace("under `data`", "under `analysis.log`")
    return f"analysis.log.{message[5:]}" if message.startswith("data.") else message
