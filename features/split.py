"""How rows are dealt to the `train`, `valid` and `test` splits."""

from typing import Annotated, Literal

from pydantic import Field

from features.config import Config


class TimeSplit(Config):
    """Earliest rows train, latest rows test; a boundary is a time, so tied rows stay together."""

    kind: Literal["time"] = "time"
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the rows, just before the test rows."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows, the latest ones."""


class HashSplit(Config):
    """By a stable hash of a key, so that all rows of one key fall into one split."""

    kind: Literal["hash"] = "hash"
    key: str
    """Column to hash, for example `user_id`."""
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the keys."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the keys."""
    salt: str = ""
    """Change it for another random split."""


class ColumnSplit(Config):
    """By the values of a column (which may be derived, or come from hive folders)."""

    kind: Literal["column"] = "column"
    column: str
    """Column to look at."""
    train: tuple[str | int, ...] = Field(min_length=1)
    """Values of training rows."""
    valid: tuple[str | int, ...] = ()
    """Values of validation rows."""
    test: tuple[str | int, ...] = Field(min_length=1)
    """Values of test rows; rows with any other value are left out."""


class FileSplit(Config):
    """By given files: `data.events` trains, these files validate and test."""

    kind: Literal["files"] = "files"
    valid: str | None = None
    """Path or glob of the validation rows."""
    test: str
    """Path or glob of the test rows."""


class OrderSplit(Config):
    """By position in the files, for logs without a time: first rows train, last rows test."""

    kind: Literal["order"] = "order"
    valid: float = Field(0.1, ge=0, lt=1)
    """Share of the rows, just before the test rows."""
    test: float = Field(0.2, ge=0, lt=1)
    """Share of the rows, the last ones."""


SplitConfig = Annotated[
    TimeSplit | HashSplit | ColumnSplit | FileSplit | OrderSplit, Field(discriminator="kind")
]
