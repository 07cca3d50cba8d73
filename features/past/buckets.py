"""Looking back out of core: rows and the events they look back at go to the same bucket, and each
bucket is answered by itself.

    deal        rows and events go to files by the same hash of their key
    answer      a bucket is a task: its files in, a file of columns out, and nothing else
    restore     what the buckets answered, in the order of the rows

Each is one pass, so what a row costs does not grow with the number of buckets, while memory holds
one bucket's events. All events of a key lie in one bucket, however many there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.past.deal import Dealt
from fulcrum.features.past.events import KEY, TIME, Columns, Selection, Standing, sort_events

PLACE = "row.place"
"""Column of a row's number, from 0; no answer can have its name."""
SLAB_ROWS = 131_072
"""Rows that lie together in the restored order."""
BATCH_ROWS = 65_536
"""Rows of a bucket that are answered at a time, or those of one slab where they are more."""
ROW_GROUP = 16_384
"""As of staged rows: Polars reads several of them ahead."""

Advance = Callable[[int, int], None]
"""Told how many tasks are done, and of how many."""


@dataclass(frozen=True)
class Question:
    """What is asked of one sorted past."""

    selection: Selection
    answer: Callable[[Standing], Columns]


@dataclass(frozen=True)
class Bucket:
    """The task of one bucket of one key column: rows and events in files, answers in a file.

    It reads nothing else, changes nothing that it reads, and writes the same file whenever and
    wherever it runs."""

    number: int
    rows: Dealt
    """With `past.key`, `past.time` and `row.place`."""
    events: tuple[Dealt, ...]
    """Of each question."""
    slabs: int
    """Of all rows."""
    target: Path
    """The file of answers: Arrow, a record batch for each slab, with the places of its rows."""

    def answer(self, questions: Sequence[Question]) -> None:
        """Sort the events, find the rows among them, and write what the questions say of each."""
        import pyarrow as pa

        rows = self.rows.read(self.number).sort(PLACE)
        parts = [
            sort_events(dealt.read(self.number), question.selection)
            for dealt, question in zip(self.events, questions, strict=True)
        ]

        def ask(some: pl.DataFrame) -> pa.RecordBatch:
            answers: dict[str, object] = {}
            for part, question in zip(parts, questions, strict=True):
                answers |= question.answer(part.find(some[KEY], some[TIME]))
            table = pl.DataFrame(answers, nan_to_null=True).with_columns(some[PLACE]).to_arrow()
            columns = [column.combine_chunks() for column in table.columns]
            return pa.RecordBatch.from_arrays(columns, schema=table.schema)

        ends = rows[PLACE].search_sorted(np.arange(self.slabs + 1) * SLAB_ROWS).to_numpy()
        nobody = ask(rows[:0])
        with pa.ipc.new_file(str(self.target), nobody.schema) as file:
            for first, last in _batches(ends):
                batch = ask(rows[ends[first] : ends[last]])
                for slab in range(first, last):
                    start = ends[slab] - ends[first]
                    file.write_batch(batch.slice(start, ends[slab + 1] - ends[slab]))


def look_back(
    rows: pl.LazyFrame,
    time: str,
    events: pl.LazyFrame,
    questions: Sequence[Question],
    buckets: int,
    folder: Path,
    advance: Advance = lambda done, total: None,
) -> pl.LazyFrame:
    """The columns that questions add to rows, in the order of the rows: the same for any number of
    buckets.

    Args:
        rows: with the key columns of the questions and `time`, Int64 microseconds.
        time: name of that column.
        events: of any time and order; only those strictly before a row count for it.
        questions: about any key columns.
        buckets: that each key column is hashed into.
        folder: a new one, where rows, events and answers are kept; it must outlive the plan that is
            returned, and removing it is the caller's.
        advance: hears of buckets.
    """
    by_key: dict[str, list[Question]] = {}
    for question in questions:
        by_key.setdefault(question.selection.key, []).append(question)
    slabs = max(1, -(-rows.select(pl.len()).collect().item() // SLAB_ROWS))
    answered: list[list[Path]] = []
    advance(0, len(by_key) * buckets)
    for place, (key, asked) in enumerate(by_key.items()):
        home = folder / str(place)
        dealt = _deal(rows, key, time, events, asked, buckets, home)
        answered.append([home / f"{number}.arrow" for number in range(buckets)])
        for number, target in enumerate(answered[-1]):
            Bucket(number, *dealt, slabs, target).answer(asked)
            for files in (dealt[0], *dealt[1]):
                files.remove(number)
            advance(place * buckets + number + 1, len(by_key) * buckets)
    return _restore(answered, slabs, folder / "restored")


def _deal(
    rows: pl.LazyFrame,
    key: str,
    time: str,
    events: pl.LazyFrame,
    questions: Sequence[Question],
    buckets: int,
    folder: Path,
) -> tuple[Dealt, tuple[Dealt, ...]]:
    pasts = [question.selection.of(events) for question in questions]
    keys = pl.col(key).cast(pasts[0].collect_schema()[KEY], strict=False)
    asking = rows.select(keys.alias(KEY), pl.col(time).alias(TIME)).with_row_index(PLACE)
    return Dealt.of(asking, KEY, buckets, folder / "rows"), tuple(
        Dealt.of(past, KEY, buckets, folder / f"events-{place}") for place, past in enumerate(pasts)
    )


def _batches(ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """Slabs, from and to, that are answered together: as many as `BATCH_ROWS` hold, at least one;
    the rows of slab i lie from `ends[i]` to `ends[i + 1]`."""
    first, slabs = 0, len(ends) - 1
    while first < slabs:
        fitting = int(np.searchsorted(ends, ends[first] + BATCH_ROWS, side="right")) - 1
        last = min(slabs, max(first + 1, fitting))
        yield first, last
        first = last


def _restore(answered: Sequence[Sequence[Path]], slabs: int, folder: Path) -> pl.LazyFrame:
    """A file for each slab, of the answers about every key column, in the order of the rows. Those
    of the buckets go."""
    folder.mkdir()
    files = [folder / f"{slab:06}.ipc" for slab in range(slabs)]
    for slab, file in enumerate(files):
        columns = [_slab(buckets, slab) for buckets in answered]
        pl.concat(columns, how="horizontal").write_ipc(
            file, compression="uncompressed", record_batch_size=ROW_GROUP
        )
    for buckets in answered:
        for bucket in buckets:
            bucket.unlink()
    return pl.scan_ipc(files, glob=False)


def _slab(buckets: Sequence[Path], slab: int) -> pl.DataFrame:
    import pyarrow as pa

    batches = []
    for bucket in buckets:
        # Opened anew for each slab: open files are limited, and there may be thousands of buckets.
        with pa.memory_map(str(bucket)) as file:
            batches.append(pa.ipc.open_file(file).get_batch(slab))
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    return frame.sort(PLACE).drop(PLACE)
