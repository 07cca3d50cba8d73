"""The log of a test: every row with all that the analysis asks of it, in one Parquet file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.cause import first_line
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
from fulcrum.pipelines.ab.log import assigned, served
from fulcrum.pipelines.ab.log.columns import (
    ACTION,
    ARM,
    CLUSTER,
    CONTENT,
    CONTEXT,
    INSTANCE,
    KEPT,
    PROPENSITY,
    TIME,
    UNIT,
    VERSION,
    segment,
)
from fulcrum.pipelines.ab.log.experiment import AnalysisConfig, Experiment, interference, timeless
from fulcrum.pipelines.ab.metrics.columns import covariate, denominator, numerator

NOBODY = "; a log that names nobody is read with `unit: null`, and its rows are then the units"


@dataclass(frozen=True)
class Log:
    """The rows of a test and of the time before it."""

    file: Path
    data: DataConfig
    """Reads `file` with side tables and derived columns, for what works on features."""
    read: int
    """Rows in the files."""
    logged: pl.LazyFrame | None
    """The same rows as they were logged, with every column, and with `UNIT`; None where the unit is
    no column of them."""
    dealt: Path | None
    """Units that were dealt to arms, with `UNIT`, `ARM` and `TIME`, whether or not they have rows;
    None for logs that do not say."""

    @property
    def rows(self) -> pl.LazyFrame:
        """All of them."""
        return pl.scan_parquet(self.file, glob=False)

    @property
    def assignments(self) -> pl.LazyFrame | None:
        """What `dealt` holds."""
        return None if self.dealt is None else pl.scan_parquet(self.dealt, glob=False)


def stage(logs: Sequence[str], experiment: Experiment, folder: Path) -> Log:
    """Read files, a folder or a glob, or what `fulcrum serve` logged, and write `rows.parquet`.

    Beside a log of the service, files are the time before the test. Raises DataError for what is
    missing or unreadable, for columns that are not there (with the nearest that is), and for
    metrics that are no numbers, and ConfigError for what needs times in a log without any.
    """
    analysis = experiment.analysis
    if analysis is None:
        raise ConfigError("the experiment has no `analysis`, which says what to ask of the log")
    own = served.find(logs)
    unit, log = experiment.unit, analysis.log
    if own is not None:
        unit = served.UNIT
        time = log.time or TimeConfig(column="time")
        names = {"instance": log.instance or "instance", "version": log.version or "version"}
        log = log.model_copy(update={"time": time, "assignments": None, **names})
        analysis = analysis.model_copy(update={"log": log})
    _refuse(timeless(analysis))
    _refuse(interference(analysis, unit, experiment.outcomes))
    file = folder / "rows.parquet"
    data = DataConfig(events=str(file), tables=log.tables, time=log.time, derive=log.derive)
    read = _reads(data, unit, analysis)
    source: Source | None = None
    try:
        if own is None:
            source = scan(list(logs), "the log", read, log.csv)
            events = source.frame
        else:
            name = experiment.unit or served.UNIT
            events = served.rows(own, logs, name, analysis, _reads(data, name, analysis))
        sources = open_tables(data, read, events.collect_schema(), "analysis.log.tables")
        tables = {name: source.frame for name, source in sources.items()}
        plan = _plan(events, tables, data, unit, analysis)
        dealt = _dealt(own, experiment, folder)
        if own is None and dealt is not None:
            plan = assigned.with_arms(plan, pl.scan_parquet(dealt, glob=False))
        plan.sink_parquet(file, row_group_size=ROW_GROUP, compression="lz4")
    except DataError as error:
        raise DataError(_here(str(error))) from error
    except PolarsError as error:
        damage = source.damage() if source is not None else None
        raise DataError(damage or _explain(error, events, tables, data, unit, analysis)) from error
    count = pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
    return Log(file, data, count, _logged(events, unit), dealt)


def _refuse(problems: Iterator[Problem]) -> None:
    found = list(problems)
    if found:
        raise ConfigError("\n".join(map(str, found)))


def _logged(events: pl.LazyFrame, unit: str | None) -> pl.LazyFrame | None:
    if unit is None:
        return events.with_row_index(UNIT).with_columns(pl.col(UNIT).cast(pl.String))
    dtype = events.collect_schema().get(unit)
    return None if dtype is None else events.with_columns(key_text(pl.col(unit), dtype).alias(UNIT))


def _dealt(own: Path | None, experiment: Experiment, folder: Path) -> Path | None:
    """Write who was dealt to which arm: `own` is the log of the service, if it is one."""
    assert experiment.analysis is not None
    if own is not None:
        rows = assigned.served(own)
    elif experiment.analysis.log.assignments is not None:
        rows = assigned.table(experiment)
    else:
        return None
    file = folder / "assignments.parquet"
    rows.sink_parquet(file)
    return file


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
    if log.assignments is None:
        yield ("analysis", "log", "arm"), log.arm
    if log.cluster is not None:
        yield ("analysis", "log", "cluster"), log.cluster
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
        for part, text_ in metric.expressions.items():
            yield (*at, part), sql.value(text_)
        if metric.covariate is not None:
            yield (*at, "covariate"), sql.value(metric.covariate)
    for name, text_ in analysis.segments.items():
        yield ("analysis", "segments", name), sql.value(text_)
    if off is not None:
        yield ("analysis", "off_policy", "propensity"), off.propensity
        yield ("analysis", "off_policy", "action"), off.action
        for place, name in enumerate(off.context):
            yield ("analysis", "off_policy", "context", str(place)), name


def _features(data: DataConfig, analysis: AnalysisConfig) -> list[tuple[tuple[str, ...], str]]:
    """Places and names of what is read to prepare the features of the interference panel."""
    if analysis.interference is None:
        return []
    spec = FeatureSpec(data=data, features=analysis.interference.features, tasks={})
    roots = {"data": ("analysis", "log"), "features": ("analysis", "interference", "features")}
    return [((*roots[str(path[0])], *map(str, path[1:])), name) for path, name in places(spec)]


def _check_columns(wanted: Sequence[tuple[tuple[str, ...], str]], lineage: Lineage) -> None:
    problems: dict[str, Problem] = {}
    for path, name in wanted:
        try:
            lineage.dtype(name)
        except DataError as error:
            message = f"{error}{NOBODY}" if path == ("unit",) else str(error)
            problems.setdefault(str(error), Problem(path, message))
    if problems:
        raise DataError("\n".join(map(str, problems.values())))


def _columns(unit: str | None, analysis: AnalysisConfig, lineage: Lineage) -> Iterator[pl.Expr]:
    log, off = analysis.log, analysis.off_policy
    who = pl.col("test.index").cast(pl.String) if unit is None else _key(unit, lineage)
    yield who.alias(UNIT)
    no_word = pl.lit(None, pl.String)
    yield (no_word if log.assignments is not None else _key(log.arm, lineage)).alias(ARM)
    if log.cluster is not None:
        yield _key(log.cluster, lineage).alias(CLUSTER)
    when = pl.lit(None, pl.Int64)
    if log.time is not None:
        when = microseconds(log.time, lineage.dtype(log.time.column))
    yield when.alias(TIME)
    for column, name in ((INSTANCE, log.instance), (VERSION, log.version)):
        value = no_word if name is None else _text(name, lineage)
        yield value.alias(column)
    keep = pl.lit(True)
    if log.where is not None:
        keep = pl.col(sql.value(log.where)).cast(pl.Boolean).fill_null(False)
    yield keep.alias(KEPT)
    for name, metric in analysis.metrics.items():
        at = f"analysis.metrics.{name}"
        made = _number if metric.numbers else _key
        values = [
            made(sql.value(sql_), lineage, f"{at}.{part}")
            for part, sql_ in metric.expressions.items()
        ]
        yield from (value.alias(numerator(name)) for value in values[:1])
        yield from (value.fill_null(0.0).alias(denominator(name)) for value in values[1:])
        if metric.covariate is not None:
            known = _number(sql.value(metric.covariate), lineage, f"{at}.covariate")
            yield known.alias(covariate(name))
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


def _key(name: str, lineage: Lineage, place: str = "") -> pl.Expr:
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
