"""Bucket by bucket on disk as all at once in memory, to the last bit."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fulcrum.features.kinds.lookback import Recall, evaluate_events, select_past
from fulcrum.features.past import buckets
from fulcrum.features.past.buckets import PLACE, Bucket, Question
from fulcrum.features.past.deal import Dealt
from fulcrum.features.past.events import KEY, TIME
from fulcrum.testing.logs import SCHEMA, SECOND, Event, frame, logs
from tests.features.kinds.test_lookback import ATTRIBUTES, FEATURES, look

RECALL = Recall(FEATURES, "time", {"mean": 0.5})
QUESTIONS = [
    Question(selection, RECALL.question(source))
    for source, selection in select_past(FEATURES, ATTRIBUTES, "time").items()
]


def look_on_disk(
    rows: pl.LazyFrame, log: pl.LazyFrame, count: int, folder: Path, told: list[int] | None = None
) -> pl.LazyFrame:
    events = evaluate_events(log, FEATURES)

    def advance(done: int, total: int) -> None:
        if told is not None:
            told.append(total - done)

    return buckets.look_back(rows, "time", events, QUESTIONS, count, folder, advance)


@settings(max_examples=10)
@given(logs, logs, st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_as_in_memory(
    rows: list[Event], log: list[Event], count: int, slab: int, batch: int
) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.multiple(buckets, SLAB_ROWS=slab, BATCH_ROWS=batch),
    ):
        seen = look_on_disk(frame(rows), frame(log), count, Path(folder) / "past").collect()
    assert_frame_equal(
        seen, look(rows, log).drop(SCHEMA), check_exact=True, check_column_order=False
    )


def test_many_rows_stream_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "SLAB_ROWS", 4096)
    generator, rows = np.random.default_rng(0), 3 * 4096 + 1
    log = pl.DataFrame(
        {
            "user": generator.integers(0, 2000, rows).astype(str),
            "time": generator.integers(0, 20 * SECOND, rows),
            "item": generator.integers(0, 50, rows),
            "author": generator.integers(0, 9, rows).astype(str),
            "click": generator.integers(0, 2, rows),
            "play": generator.normal(size=rows),
        },
        schema=SCHEMA,
    )
    log.write_parquet(tmp_path / "log.parquet")
    scan = pl.scan_parquet(tmp_path / "log.parquet")
    told: list[int] = []
    seen = look_on_disk(scan, scan, 3, tmp_path / "past", told)
    assert told == [*reversed(range(3 * len({"user", "item", "author"}) + 1))]
    assert {file.suffix for file in (tmp_path / "past").rglob("*") if file.is_file()} == {".ipc"}
    together = pl.concat([scan, seen], how="horizontal", strict=True)
    graph = together.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
    assert graph is not None
    assert 'label="in-memory' not in graph
    rank = pl.col("time").rank("min").over("user").cast(pl.Int64) - 1
    shown = together.select("past.shown", rank.alias("rank")).collect()
    assert shown["past.shown"].equals(shown["rank"])


def test_a_bucket_is_a_task_that_can_be_done_again(tmp_path: Path) -> None:
    """It leaves its files as they are and writes the same bytes, whatever else there is."""
    generator = np.random.default_rng(0)
    log = pl.LazyFrame(
        {"user": generator.integers(0, 9, 200).astype(str), "time": generator.integers(0, 99, 200)}
    )
    question = Question(QUESTIONS[0].selection, RECALL.question(("user", None, "time")))
    asking = log.select(pl.col("user").alias(KEY), pl.col("time").alias(TIME)).with_row_index(PLACE)
    rows = Dealt.of(asking, KEY, 2, tmp_path / "rows")
    rest = {"item": pl.lit(1), "author": pl.lit("x"), "click": pl.lit(1), "play": pl.lit(0.5)}
    complete = evaluate_events(log.with_columns(**rest), FEATURES)
    events = Dealt.of(question.selection.of(complete), KEY, 2, tmp_path / "events")
    written = []
    for number, name in ((1, "first"), (0, "other"), (1, "again")):
        task = Bucket(number, rows, (events,), 1, tmp_path / name)
        task.answer([question])
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[2] != written[1]


@pytest.mark.parametrize("key", [None, "", float("nan")])
def test_who_is_nobody_has_seen_nothing(key: object, tmp_path: Path) -> None:
    """And is dealt to some bucket all the same, so that the order can be restored."""
    dtype = pl.Float64 if isinstance(key, float) else pl.String
    log = pl.LazyFrame(
        {"user": pl.Series([key, key, key], dtype=dtype), "time": [1, 2, 3], "item": [1, 1, 1]}
    ).with_columns(author=pl.lit("x"), click=pl.lit(1), play=pl.lit(1.0))
    seen = look_on_disk(log, log, 4, tmp_path / "past").collect()
    assert seen["past.shown"].to_list() == [0, 0, 0]
    assert seen["past.viewed.item"].list.len().to_list() == [0, 0, 0]
