"""The window and history features of a config, computed for rows from a log of past events.

Batch scoring makes two calls:

    past = gather_past(events, features, attributes, time)     once for a log
    rows = look_back(rows, past, Recall(features, time, bases))    for any number of frames of rows

Preparation, which has all rows at once, puts `Recall.question` of each of `select_past` to
`past.buckets`. The service, whose log goes on, has a `GrowingPast` for each instead.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import polars as pl

from fulcrum.features.kinds.base import Column, Columns
from fulcrum.features.kinds.recall import PREFIX, RecallKind
from fulcrum.features.past.events import KEY, TIME, AnyPast, Past, Reach, Selection, Standing
from fulcrum.features.values import sql

Source = tuple[str, str | None, str]
"""What features share a past: the key column, the condition of those that have one, and the column
of the time from which an event counts."""
Clocks = Mapping[str, str]
"""That column by feature; the time of the event for the others."""


def gather_past(
    events: pl.LazyFrame,
    features: Mapping[str, RecallKind],
    attributes: Mapping[str, pl.Expr],
    time: str,
    *,
    clocks: Clocks = MappingProxyType({}),
    partitions: int = 1,
    folder: Path | None = None,
) -> dict[Source, Past]:
    """Read the log once per source and sort it, in any order given.

    Args:
        events: past events with every column (side tables', derived) that the features read.
        features: the config's window and history features by name; others must not be in it.
        attributes: an expression over `events` for each attribute of the histories. Raw values, or
            ids straight from the encoder: once per event is far cheaper than once per row and
            place of a history.
        time: column of Int64 microseconds; events without a time are left out.
        clocks: columns like `time`; events that have none are left out of the feature.
        partitions: parts that the keys are hashed into; the result never depends on it.
        folder: where the sorted parts are kept, for a log larger than memory: one part at a time
            is in memory (a few million events each are right), later reads go through memory
            maps. It must outlive every use of the past; removing it is the caller's. With None
            everything stays in memory.
    """
    events = evaluate_events(events, features)
    return {
        source: Past.of(
            selection, events, partitions, None if folder is None else folder / str(number)
        )
        for number, (source, selection) in enumerate(
            select_past(features, attributes, time, clocks).items()
        )
    }


def evaluate_events(events: pl.LazyFrame, features: Mapping[str, RecallKind]) -> pl.LazyFrame:
    """Events with the values of the SQL that features read of them, each computed once."""
    schema = events.collect_schema()
    values = {sql.value(t): t for f in features.values() for t in f.event_sql().values()}
    return sql.evaluate(events, {name: t for name, t in values.items() if name not in schema})


def select_past(
    features: Mapping[str, RecallKind],
    attributes: Mapping[str, pl.Expr],
    time: str,
    clocks: Clocks = MappingProxyType({}),
) -> dict[Source, Selection]:
    """What the past of each source keeps of `evaluate_events`; arguments as of `gather_past`."""
    sources: dict[Source, dict[str, RecallKind]] = {}
    for name, config in features.items():
        sources.setdefault(_source(config, clocks.get(name, time)), {})[name] = config
    return {
        source: Selection(
            key=source[0],
            time=source[2],
            columns={name: attributes[name] for c in members.values() for name in c.remembers()},
            totals={name: total for c in members.values() for name, total in c.totals().items()},
            where=next(iter(members.values())).condition(),
            reach=_farthest([config.reach() for config in members.values()]),
        )
        for source, members in sources.items()
    }


def _farthest(reaches: Sequence[Reach | None]) -> Reach | None:
    known = [reach for reach in reaches if reach is not None]
    if len(known) < len(reaches):
        return None
    return Reach(max(reach.last for reach in known), max(reach.length for reach in known))


class Recall:
    """The question that features ask of their past, put together once."""

    def __init__(
        self,
        features: Mapping[str, RecallKind],
        time: str,
        bases: Mapping[str, float] = MappingProxyType({}),
        clocks: Clocks = MappingProxyType({}),
    ) -> None:
        """`features`, `time` and `clocks` as of `gather_past`; `bases` is `kinds.window.base` by
        feature, for windows with smoothing."""
        self.time = time
        members: dict[Source, dict[type[RecallKind], dict[str, RecallKind]]] = {}
        for name, config in features.items():
            kinds = members.setdefault(_source(config, clocks.get(name, time)), {})
            kinds.setdefault(type(config), {})[name] = config
        self._questions = {
            source: [kind.question(same, bases) for kind, same in kinds.items()]
            for source, kinds in members.items()
        }
        self.sources = tuple(self._questions)
        """What the features share."""

    def ask(self, source: Source, past: AnyPast, keys: pl.Series, times: pl.Series) -> Columns:
        """What the features of one source see of their past strictly before each row: windows
        `past.<feature>` (int64 for `count`, else float64), histories `past.<feature>.<attribute>`
        and, with `age`, `past.<feature>.age` (lists, see `kinds.window.Windows` and
        `kinds.history.compute`).

        `times` are Int64 microseconds; a row without key or time has no past."""

        return past.ask(keys, times, self.question(source))

    def question(self, source: Source) -> Callable[[Standing], Columns]:
        """`ask` for rows that were found among the events of the source already."""

        def answer(standing: Standing) -> Columns:
            columns: dict[str, Column] = {}
            for question in self._questions[source]:
                columns |= question(standing)
            return columns

        return answer


def look_back(rows: pl.LazyFrame, past: Mapping[Source, AnyPast], recall: Recall) -> pl.LazyFrame:
    """Add what every feature sees of the past strictly before each row (`Recall.ask`).

    Rows keep their order and number; the plan streams.

    Args:
        rows: rows with the features' key columns and the recall's time (Int64 microseconds).
        past: from `gather_past` with these features, or more, and these clocks.
    """
    for source in recall.sources:
        rows = _add(rows, source, past[source], recall)
    return rows


def _source(config: RecallKind, clock: str) -> Source:
    condition = config.condition()
    return config.key, None if condition is None else str(condition), clock


def _add(rows: pl.LazyFrame, source: Source, past: AnyPast, recall: Recall) -> pl.LazyFrame:
    def ask(batch: pl.Series) -> pl.Series:
        keys, times = batch.struct.field(KEY), batch.struct.field(TIME)
        answers = recall.ask(source, past, keys, times)
        return pl.DataFrame(dict(answers), nan_to_null=True).to_struct()

    question = pl.struct(pl.col(past.key).alias(KEY), pl.col(recall.time).alias(TIME))
    nobody = pl.Series(dtype=pl.Struct({KEY: pl.String, TIME: pl.Int64}))
    answers = question.map_batches(ask, return_dtype=ask(nobody).dtype, is_elementwise=True)
    return rows.with_columns(answers.alias(PREFIX)).unnest(PREFIX)
