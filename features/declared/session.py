"""Sessions: the events of a key that follow one another without a long pause.

A session begins at an event whose predecessor, the latest earlier event of the same key, lies more
than `gap` back. So what a row belongs to depends on its key's past alone, and events to come change
nothing.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.config import Config
from fulcrum.features.declared.split import INDEX, TIME
from fulcrum.features.values.duration import Duration, to_microseconds
from fulcrum.features.values.hashing import hash64

KEY, SESSION = "row.session.key", "row.session"
"""Columns of staged rows: hash of whose session it is (UInt64, null without a key), and its number
(Int64)."""
ROW_GROUP = 16_384
"""As of the staged rows."""
_PART, _PLACE = "row.part", "row.place"


class SessionConfig(Config):
    """How events are cut into sessions."""

    key: str
    """Column that says whose session it is, for example `user_id`; a row without it (null,
    NaN or an empty text) is a session of its own."""
    gap: Duration = "30m"
    """The longest pause within a session, `<number><s|m|h|d>`."""

    @property
    def microseconds(self) -> int:
        """`gap` as microseconds."""
        return to_microseconds(self.gap)


def number_sessions(rows: pl.LazyFrame, gap: int, folder: Path, partitions: int = 1) -> np.ndarray:
    """The session of each row, int64 `(rows,)` by `row.index`: 0 to sessions - 1.

    Sessions count up by the hash of their key, then by time; behind them come the rows without key
    or time, in file order. `gap` is in microseconds. With several partitions the rows go through
    `folder`, and those of one range of hashes at a time are in memory; the result is the same.
    """
    rows = rows.select(INDEX, KEY, TIME)
    in_session = pl.col(KEY).is_not_null() & pl.col(TIME).is_not_null()
    session = np.zeros(rows.select(pl.len()).collect().item(), np.int64)
    count = 0
    for part in _partitions(rows.filter(in_session), KEY, folder, partitions):
        events = part.sort(KEY, TIME).with_columns(
            begins=pl.col(KEY).ne_missing(pl.col(KEY).shift()) | (pl.col(TIME).diff() > gap)
        )
        number = events["begins"].cast(pl.Int64).cum_sum().to_numpy()
        session[events[INDEX].to_numpy()] = count + number - 1
        count += int(number[-1]) if len(number) else 0
    alone = rows.filter(~in_session).select(INDEX).collect().to_series().sort().to_numpy()
    session[alone] = count + np.arange(len(alone))
    return session


def with_sessions(rows: pl.LazyFrame, session: np.ndarray) -> pl.LazyFrame:
    """Rows, in any order, with `row.session` in place of the hash of their key; `session` is by
    `row.index`."""
    number = pl.col(INDEX).map_batches(
        lambda index: pl.Series(session[index.to_numpy()]),
        return_dtype=pl.Int64,
        is_elementwise=True,
    )
    return rows.with_columns(number.alias(SESSION)).drop(KEY)


def in_session_order(rows: pl.LazyFrame, folder: Path, partitions: int = 1) -> pl.LazyFrame:
    """Rows session by session, those of a session by time and, where tied, in file order.

    Sessions come by a hash of their number, for in the order of their numbers those of a key are
    neighbours. Rows go through `folder` and stay there: those of one range of hashes at a time are
    in memory.
    """
    place = hash64(pl.col(SESSION).cast(pl.String), "session")
    parts = _partitions(
        rows.with_columns(place.alias(_PLACE)), _PLACE, folder / "dealt", partitions
    )
    files: list[Path] = []
    for part in parts:
        files.append(folder / f"{len(files):05}.parquet")
        folder.mkdir(exist_ok=True)
        part.sort(_PLACE, SESSION, TIME, INDEX).drop(_PLACE).write_parquet(
            files[-1], row_group_size=ROW_GROUP, compression="lz4"
        )
    return pl.scan_parquet(files, glob=False)


def _partitions(
    rows: pl.LazyFrame, column: str, folder: Path, count: int
) -> Iterator[pl.DataFrame]:
    """Rows by `count` equal ranges of a UInt64 column without nulls, in rising order of the ranges;
    ranges without rows are left out."""
    if count == 1:
        yield rows.collect()
        return
    folder.mkdir(parents=True)
    part = (pl.col(column) // 2**32 * count // 2**32).cast(pl.Int64)
    rows.with_columns(part.alias(_PART)).sink_parquet(
        pl.PartitionBy(folder, key=_PART, include_key=False), mkdir=True
    )
    for number in range(count):
        place = folder / f"{_PART}={number}"
        if place.exists():
            yield pl.read_parquet(
                sorted(place.glob("*.parquet")), glob=False, hive_partitioning=False
            )
            shutil.rmtree(place)
