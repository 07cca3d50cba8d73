"""How rows are dealt to the `train`, `valid` and `test` splits.

A row in no split is left out of training and evaluation, but other rows still see it as their past.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from fulcrum.features.config import Config, choice
from fulcrum.features.errors import DataError
from fulcrum.features.values.hashing import hash64
from fulcrum.features.values.text import Word, key_text, text

SPLITS = ("train", "valid", "test")

TIME, INDEX, FILE = "row.time", "row.index", "row.file"
"""Columns that `deal` finds: microseconds, position among all rows, split of the row's file."""


def split_column(column: str) -> str:
    """Name under which `deal` finds a column that a split reads."""
    return f"row.split.{column}"


class Deal(NamedTuple):
    """The outcome of a split."""

    split: pl.Expr
    """`train`, `valid`, `test`, or null for a row that is left out."""
    boundaries: dict[str, Any]
    """For the manifest: where one split ends and the next begins."""


class Split(Config):
    """One way to deal rows."""

    kind: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that it looks at."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that must not come out empty."""
        raise NotImplementedError

    def deal(self, rows: pl.LazyFrame) -> Deal:
        """Look at all rows and say which split each is in."""
        raise NotImplementedError


class Shares(Split):
    """A split by shares: whatever is neither `valid` nor `test` trains."""

    valid: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> "Shares":
        if self.valid + self.test >= 1:
            raise ValueError("`valid` and `test` together must leave rows to train: less than 1")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        shares = {"train": 1.0, "valid": self.valid, "test": self.test}
        return tuple(name for name, share in shares.items() if share > 0)


class TimeSplit(Shares):
    """Earliest rows train, latest rows test; a boundary is a time, so tied rows stay together."""

    kind: Literal["time"] = "time"
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the rows, just before the test rows."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows, the latest ones."""

    def deal(self, rows: pl.LazyFrame) -> Deal:
        times = np.sort(rows.select(TIME).collect().to_series().to_numpy())
        bounds = _bounds(times, self.valid, self.test)
        facts = {f"{name} from": _iso(bound) for name, bound in bounds.items()}
        return Deal(_after(pl.col(TIME), bounds), facts)


class HashSplit(Shares):
    """By a stable hash of a key, so that all rows of one key fall into one split."""

    kind: Literal["hash"] = "hash"
    key: str
    """Column to hash, for example `user_id`. Rows without a key train."""
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the keys."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the keys."""
    salt: str = ""
    """Change it for another random split."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.key,)

    def deal(self, rows: pl.LazyFrame) -> Deal:
        column = split_column(self.key)
        key = key_text(pl.col(column), rows.collect_schema()[column])
        place = hash64(key, f"split {self.salt}").cast(pl.Float64) / 2.0**64
        split = (
            pl.when(place < self.test)
            .then(pl.lit("test"))
            .when(place < self.test + self.valid)
            .then(pl.lit("valid"))
            .otherwise(pl.lit("train"))
        )
        return Deal(split, self.model_dump(exclude={"kind"}))


class ColumnSplit(Split):
    """By the values of a column (which may be derived, or come from hive folders)."""

    kind: Literal["column"] = "column"
    column: str
    """Column to look at."""
    train: tuple[Word, ...] = Field(min_length=1)
    """Values of training rows."""
    valid: tuple[Word, ...] = ()
    """Values of validation rows."""
    test: tuple[Word, ...] = Field(min_length=1)
    """Values of test rows; rows with any other value are left out."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def names(self) -> tuple[str, ...]:
        return SPLITS if self.valid else ("train", "test")

    def deal(self, rows: pl.LazyFrame) -> Deal:
        name = split_column(self.column)
        value = text(pl.col(name), rows.collect_schema()[name])
        values = {name: getattr(self, name) for name in self.names}
        there = rows.select(value.unique()).collect().to_series().drop_nulls().sort()
        for split_name, members in values.items():
            if there.len() and not set(map(str, members)) & set(there):
                held = ", ".join(map(repr, there.head(5)))
                raise DataError(
                    f"data.split.{split_name}: `{self.column}` holds {held}"
                    f"{', ...' * (there.len() > 5)}; expected one of {list(members)}"
                )
        split = pl.coalesce(
            pl.when(value.is_in([str(v) for v in members])).then(pl.lit(name))
            for name, members in values.items()
        )
        return Deal(split, {"column": self.column, **values})


class FileSplit(Split):
    """By given files: `data.events` trains, these files validate and test."""

    kind: Literal["files"] = "files"
    valid: str | None = None
    """Path or glob of the validation rows."""
    test: str
    """Path or glob of the test rows."""

    @property
    def names(self) -> tuple[str, ...]:
        return SPLITS if self.valid else ("train", "test")

    def deal(self, rows: pl.LazyFrame) -> Deal:
        return Deal(pl.col(FILE), {"valid": self.valid, "test": self.test})


class OrderSplit(Shares):
    """By position in the files, for logs without a time: first rows train, last rows test."""

    kind: Literal["order"] = "order"
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the rows, just before the test rows."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows, the last ones."""

    def deal(self, rows: pl.LazyFrame) -> Deal:
        count = rows.select(pl.len()).collect().item()
        bounds = _bounds(np.arange(count), self.valid, self.test)
        return Deal(
            _after(pl.col(INDEX), bounds), {f"{name} from row": b for name, b in bounds.items()}
        )


if TYPE_CHECKING:
    SplitConfig = TimeSplit | HashSplit | ColumnSplit | FileSplit | OrderSplit
else:
    SplitConfig = choice(
        {
            "time": TimeSplit,
            "hash": HashSplit,
            "column": ColumnSplit,
            "files": FileSplit,
            "order": OrderSplit,
        }
    )


def _bounds(values: np.ndarray, valid: float, test: float) -> dict[str, int]:
    """First value of `valid` and of `test` in rising values."""
    count = len(values)
    first = {"valid": round(count * (1 - test - valid)), "test": round(count * (1 - test))}
    shares = {"valid": valid, "test": test}
    return {
        name: int(values[min(first[name], count - 1)])
        for name, share in shares.items()
        if share > 0 and count
    }


def _after(value: pl.Expr, bounds: dict[str, int]) -> pl.Expr:
    split = pl.lit("train")
    for name, bound in bounds.items():
        split = pl.when(value >= bound).then(pl.lit(name)).otherwise(split)
    return split


def _iso(microseconds: int) -> str:
    return str(np.datetime64(microseconds, "us")).removesuffix(".000000")
