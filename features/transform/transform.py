"""Raw rows to the inputs of the network: the one implementation behind preparation and scoring."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.kinds.base import Arithmetic, Column, Columns, Function, Step
from fulcrum.features.kinds.lookback import Recall
from fulcrum.features.kinds.recall import PREFIX
from fulcrum.features.raw.conform import conform_frame
from fulcrum.features.raw.lineage import Needs
from fulcrum.features.raw.side_table import SideTable
from fulcrum.features.transform.past import TIME, Gathered, clocks_of, gather, times_of
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.values import sql


def transform(
    rows: pl.DataFrame,
    state: FeatureState,
    past: pl.LazyFrame | Gathered | None = None,
    keep: Sequence[str] = (),
) -> pl.DataFrame:
    """One column per input of `state.layout`, then the columns to keep; rows keep their order.

    Args:
        rows: raw rows with `state.row_columns` and `keep`; further columns are ignored.
        past: raw past events with `state.past_columns`, in any order. They may be later than some
            rows or be the rows themselves: only what lies strictly before a row counts for it.
            They may be gathered already. Without, histories are empty and windows see nothing.
        keep: columns of `rows` to carry through; they must not be called like an input.

    Raises DataError for a missing column or a value that its column's type cannot hold.
    """
    clash = sorted({source.name for source in state.layout.inputs} & set(keep))
    if clash:
        raise DataError(f"columns to keep are called like inputs of the network: {clash}")
    if isinstance(past, pl.LazyFrame):
        past = gather(past, state) if state.past_columns else None
    return pl.DataFrame(dict(Transform(state)(rows, past))).hstack(rows.select(keep))


class Transform:
    """`transform` put together once: steps over columns, for a million rows as for one.

    What an input makes of a side table alone is computed here, once for each row of the table.
    """

    def __init__(
        self, state: FeatureState, more: Mapping[str, pl.Expr] = MappingProxyType({})
    ) -> None:
        """`more` are expressions over complete rows that have looked back, for columns to add."""
        self.state = state
        steps = {**state.steps, **more}
        homes = {name: state.lineage.table(_reads(step)) for name, step in steps.items()}
        declared = state.spec.data.tables
        tables = {n: SideTable(state.tables[n], declared[n].key) for n in state.row_needs.tables}
        self._order = tuple(steps)
        self._there = {
            name: Steps({n: step for n, step in steps.items() if homes[n] == name})(table.rows)
            for name, table in tables.items()
        }
        self._here = Steps({n: step for n, step in steps.items() if homes[n] is None})
        self._recall = Recall(state.spec.looking_back, TIME, state.bases, clocks_of(state))
        self._needs = self._needed([table.key for table in tables.values()])
        needed = self._needs.tables
        self._tables = {name: table.only(needed.get(name, ())) for name, table in tables.items()}
        self._derivations = list(self._derive())
        self._nothing = gather(pl.LazyFrame(schema=state.past_columns), state)

    def __call__(
        self, rows: pl.DataFrame, past: Gathered | None = None, seen: Columns | None = None
    ) -> Columns:
        """By name, the inputs of raw rows with `state.row_columns`, after events already gathered,
        or given what rows have `seen` of them: ids int32 `[B]`, dense numbers float32 `[B]`, bags
        and sequences List(Int32).

        Raises DataError for a missing column or a value that its column's type cannot hold."""
        rows = conform_frame(rows, self.state.row_columns, time=self.state.time)
        names = list(self.state.row_columns)
        rows = rows if rows.columns == names else rows.select(names)
        columns: dict[str, Column] = {}
        for name, table in self._tables.items():
            places = table.places(rows[table.key])
            rows = rows.hstack(table.columns(places))
            columns |= {n: values[places] for n, values in self._there[name].items()}
        for derive in self._derivations:
            rows = derive(rows)
        if seen is None:
            seen = self._look_back(rows, self._nothing if past is None else past)
        columns |= self._here(rows, seen)
        return {name: columns[name] for name in self._order}

    def _look_back(self, rows: pl.DataFrame, past: Gathered) -> Columns:
        answers: dict[str, Column] = {}
        if self._recall.sources:
            times = times_of(rows, self.state, "the rows")
            for source in self._recall.sources:
                keys = rows[past[source].key]
                answers |= self._recall.ask(source, past[source], keys, times)
        return answers

    def _needed(self, keys: Sequence[str]) -> Needs:
        """What must be joined and computed for each row: keys, and all that steps read here."""
        state = self.state
        keys = [*keys, *(feature.key for feature in state.spec.looking_back.values())]
        time = [state.time.column] if state.time is not None and state.spec.looking_back else []
        reads = [name for name in self._here.reads if not name.startswith(PREFIX)]
        return state.lineage.needs([*keys, *time, *reads])

    def _derive(self) -> Iterator[Callable[[pl.DataFrame], pl.DataFrame]]:
        """Derived columns and expressions, all at once where none reads another."""
        data, needs = self.state.spec.data, self._needs
        waiting = {name: data.derive[name] for name in needs.derived}
        waiting |= {sql.value(text): text for text in needs.expressions}
        schema = dict(self.state.row_columns)
        for name, columns in needs.tables.items():
            schema |= {column: self.state.tables[name].schema[column] for column in columns}
        while waiting:
            ready = {n: t for n, t in waiting.items() if not {*sql.mentions(t)} & waiting.keys()}
            yield sql.compiled(ready, schema)
            schema |= {name: self.state.lineage.dtype(name) for name in ready}
            waiting = {name: text for name, text in waiting.items() if name not in ready}


class Steps:
    """Steps that share a frame."""

    def __init__(self, steps: Mapping[str, Step]) -> None:
        self._functions = [step for step in steps.values() if isinstance(step, Function)]
        self._arithmetic: dict[Callable[..., np.ndarray], list[Arithmetic]] = {}
        for step in steps.values():
            if isinstance(step, Arithmetic):
                self._arithmetic.setdefault(step.compute, []).append(step)
        self._expressions = [
            step.alias(name) for name, step in steps.items() if isinstance(step, pl.Expr)
        ]
        self._words = {name for step in self._expressions for name in _reads(step)}
        self.reads = {name for step in steps.values() for name in _reads(step)}
        """The columns that the steps read."""

    def __call__(
        self, rows: pl.DataFrame, answers: Columns = MappingProxyType({})
    ) -> dict[str, Column]:
        """One column per step, of rows and of what looking back adds to them."""
        words = {n: values for n, values in answers.items() if n in self._words}
        if words:
            rows = rows.hstack(pl.DataFrame(words, nan_to_null=True))

        def column(name: str) -> Column:
            return answers[name] if name in answers else rows[name]

        series = {values.name: values for values in rows.select(self._expressions)}
        for step in self._functions:
            series[step.input] = step.compute(pl.Series(column(step.column), nan_to_null=True))
        columns: dict[str, Column] = {
            name: values if values.dtype.is_nested() else values.to_numpy()
            for name, values in series.items()
        }
        for compute, steps in self._arithmetic.items():
            numbers = np.concatenate([_numbers(column(s.column)) for s in steps], dtype=np.float64)
            parameters = np.array([step.parameters for step in steps]).T[..., None]
            columns |= zip(
                (s.input for s in steps),
                compute(numbers.reshape(len(steps), -1), *parameters),
                strict=True,
            )
        return columns


def _reads(step: Step) -> list[str]:
    return step.meta.root_names() if isinstance(step, pl.Expr) else [step.column]


def _numbers(values: Column) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else values.cast(pl.Float64).to_numpy()
