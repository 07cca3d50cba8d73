"""`window`: a count, sum, mean or rate over a key's past, strictly before the row."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, TypeAdapter, WithJsonSchema, model_validator

from fulcrum.features.kinds.base import Columns, Features, Read
from fulcrum.features.kinds.encoded import EncodedKind
from fulcrum.features.kinds.numeric import NumericConfig
from fulcrum.features.kinds.recall import PREFIX, RecallKind
from fulcrum.features.past.events import Reach, Standing
from fulcrum.features.values import sql
from fulcrum.features.values.duration import Duration, to_microseconds


def _one_or_list(one: Any) -> WithJsonSchema:
    """What a YAML file may say; it is written out as one window for each value."""
    return WithJsonSchema(TypeAdapter(one | tuple[one, ...]).json_schema())


class WindowConfig(RecallKind, EncodedKind):
    """An aggregate over past events with the same key.

    An event counts for a row when its key is equal and `row.time - over <= event.time < row.time`.
    Null, NaN and an empty text are no key and have no past. In a YAML file `key` and `over` may be
    lists: one window for each combination, `<key>_<name>_<over>`.
    """

    kind: Literal["window"] = "window"
    key: Annotated[str, _one_or_list(str)]
    """Column whose value rows and events share, for example `user_id`."""
    statistic: Literal["count", "sum", "mean", "rate"]
    """`count` of events that meet `where`; `sum` or `mean` of `value` over them; `rate`: the share
    of the key's events in the window that meet `where`."""
    where: str | None = None
    """SQL condition on the event; needed for `rate`."""
    value: str | None = None
    """SQL value of the event; needed for `sum` and `mean`, refused for the others. Events where it
    is null, NaN or infinite are left out of both."""
    over: Annotated[Duration | None, _one_or_list(Duration | None)] = None
    """Length of the window, `<number><s|m|h|d>`, for example `7d`; the whole past when left out."""
    smoothing: float = Field(0.0, ge=0)
    """Pseudo-events at the training split's own mean added to `mean` and `rate`. With 0, a row with
    no past is null."""
    encode: NumericConfig = NumericConfig()
    """How the number enters the network."""

    @model_validator(mode="after")
    def _check_statistic(self) -> Self:
        needs_value = self.statistic in ("sum", "mean")
        if needs_value and self.value is None:
            raise ValueError(f"statistic {self.statistic!r} needs `value`")
        if not needs_value and self.value is not None:
            raise ValueError(f"statistic {self.statistic!r} takes no `value`; use `where`")
        if self.statistic == "rate" and self.where is None:
            raise ValueError("statistic 'rate' needs `where`")
        if self.smoothing and self.statistic not in ("mean", "rate"):
            raise ValueError(f"statistic {self.statistic!r} takes no `smoothing`")
        return self

    @property
    def compares(self) -> bool:
        return self.statistic in ("mean", "rate")

    @property
    def microseconds(self) -> int | None:
        """`over` as microseconds."""
        return None if self.over is None else to_microseconds(self.over)

    def reads(self, name: str, features: Features) -> Sequence[Read]:
        texts = self.event_sql().items()
        return [
            Read(("key",), self.key, past=True, id=True),
            *(Read((field,), text, is_sql=True, row=False, past=True) for field, text in texts),
        ]

    def event_sql(self) -> Mapping[str, str]:
        texts = {"where": self.where, "value": self.value}
        return {field: text for field, text in texts.items() if text is not None}

    def value_column(self, name: str) -> str:
        return PREFIX + name

    def base(self) -> pl.Expr | None:
        return base(self) if self.smoothing else None

    def totals(self) -> Mapping[str, pl.Expr]:
        return totals(self)

    def reach(self) -> Reach:
        return Reach(last=0, length=self.microseconds or 0)

    @classmethod
    def question(cls, features: Mapping[str, Self], bases: Mapping[str, float]) -> "Windows":
        return Windows(features, bases)


def base(config: WindowConfig) -> pl.Expr:
    """The base of `smoothing`, Float64, from the training split's events: the mean of the finite
    values that meet `where` (`mean`), or the share of events that meet it (`rate`); 0 where there
    are none."""
    if config.statistic == "mean":
        value = _value(config)
        return value.filter(_contributes(config)).mean().fill_null(0.0)
    return _match(config).mean().fill_null(0.0)


def totals(config: WindowConfig) -> dict[str, pl.Expr]:
    """The running sums that a past must hold. Windows with equal conditions share them."""
    if config.value is not None:
        contributes = _contributes(config)
        return {
            _count(config): contributes.cast(pl.Int64),
            _sum(config): pl.when(contributes).then(_value(config)).otherwise(0.0),
        }
    if config.where is not None:
        return {_count(config): _match(config).cast(pl.Int64)}
    return {}


class Windows:
    """Windows that share a past, answered all at once: the statistic of each for B rows, int64 for
    `count` (exact), float64 for the others, in which NaN stands for null.

    `count` and `sum` are 0 without a past. `mean` is (sum + s·base) / (n + s) over the n events
    that have a value, `rate` (k + s·base) / (n + s) for k of n events, with s = `smoothing`; null
    where n + s = 0. A sum beyond the range of Float64 is null.
    """

    def __init__(self, windows: Mapping[str, WindowConfig], bases: Mapping[str, float]) -> None:
        """By name; `bases` are those of smoothed ones."""

        def of(*statistics: str) -> dict[str, WindowConfig]:
            return {name: w for name, w in windows.items() if w.statistic in statistics}

        self._lengths = list(dict.fromkeys(w.microseconds for w in windows.values()))
        self._counts = list(dict.fromkeys(["", *map(_count, windows.values())]))
        self._sums = list(dict.fromkeys(map(_sum, of("sum", "mean").values())))
        counts, sums, rates, means = map(of, ("count", "sum", "rate", "mean"))
        compared = rates | means
        self._names = [PREFIX + name for name in counts | sums | compared]
        self._counted = self._places(counts, self._counts, _count)
        self._summed = self._places(sums, self._sums, _sum)
        self._parts = (
            self._places(rates, self._counts, _count),
            self._places(means, self._sums, _sum),
        )
        self._whole = self._places(compared, self._counts, lambda w: _count(w) if w.value else "")
        self._smoothing = np.array([window.smoothing for window in compared.values()])[:, None]
        self._base = np.array([bases.get(name, 0.0) for name in compared])[:, None]

    def __call__(self, standing: Standing) -> Columns:
        start = standing.since(self._lengths)
        counts, sums = (standing.end - start)[None], np.empty((0, *start.shape))
        if len(self._counts) > 1:
            counts = np.concatenate([counts, standing.totals(self._counts[1:], start)])
        if self._sums:
            sums = standing.totals(self._sums, start)
        rates, means = self._parts
        part = np.concatenate([counts[rates], sums[means]])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (part + self._smoothing * self._base) / (counts[self._whole] + self._smoothing)
        rows = chain(counts[self._counted], _finite(sums[self._summed]), _finite(ratio))
        return dict(zip(self._names, rows, strict=True))

    def _places(
        self,
        windows: Mapping[str, WindowConfig],
        columns: list[str],
        column: Callable[[WindowConfig], str],
    ) -> tuple[list[int], list[int]]:
        """Of each window the place of its column and that of its length."""
        which = [columns.index(column(window)) for window in windows.values()]
        return which, [self._lengths.index(window.microseconds) for window in windows.values()]


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _match(config: WindowConfig) -> pl.Expr:
    if config.where is None:
        return pl.lit(True)
    return pl.col(sql.value(config.where)).cast(pl.Boolean).fill_null(False)


def _value(config: WindowConfig) -> pl.Expr:
    assert config.value is not None
    return pl.col(sql.value(config.value)).cast(pl.Float64)


def _contributes(config: WindowConfig) -> pl.Expr:
    return _match(config) & _value(config).is_finite().fill_null(False)


def _count(config: WindowConfig) -> str:
    """Name of the running count of the events that have what a window counts; empty for one that
    counts them all."""
    if config.where is None and config.value is None:
        return ""
    return f"count({config.value or '*'}) where {config.where or 'true'}"


def _sum(config: WindowConfig) -> str:
    return f"sum({config.value}) where {config.where or 'true'}"
