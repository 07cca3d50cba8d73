import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import features.reader
from features.batch import PADDING, Batch, from_arrays
from features.dataset import PreparedDataset
from features.errors import ConfigError, DataError, StateError
from features.reader import Reader
from tests.prepared import LAYOUT, prepare, rows

ROWS = 500


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": ROWS}, shards=3, group=32)


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features.reader, "BUFFER_ROWS", 100)


def padded(lists: pl.Series, length: int) -> np.ndarray:
    return np.array([[*ids, *[PADDING] * (length - len(ids))] for ids in lists.to_list()])


def expected(frame: pl.DataFrame) -> Batch:
    """The same rows by the other way to a batch: padded arrays."""
    arrays = {i.name: frame[i.name].to_numpy() for i in (*LAYOUT.ids, *LAYOUT.dense)}
    lists = (*LAYOUT.bags, *LAYOUT.sequences)
    arrays |= {i.name: padded(frame[i.name], i.max_length) for i in lists}
    tasks = [task.name for task in LAYOUT.tasks]
    return from_arrays(
        LAYOUT,
        arrays,
        frame.select(f"label.{t}" for t in tasks).to_numpy(),
        frame.select(f"observed.{t}" for t in tasks).to_numpy(),
        frame["row.weight"].to_numpy(),
        frame["row.group"].to_numpy(),
    )


def same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in [
            (one.ids.values(), other.ids.values()),
            (one.ids.lengths(), other.ids.lengths()),
            (one.sequences.values(), other.sequences.values()),
            (one.sequences.lengths(), other.sequences.lengths()),
            (one.dense, other.dense),
            (one.labels, other.labels),
            (one.observed, other.observed),
            (one.weight, other.weight),
            (one.group, other.group),
        ]
    )


NUMBER_OF = {x: number for number, x in enumerate(rows(ROWS)["x"].to_numpy().tolist())}
"""Row number by its value of `x`, which differs in every row."""


def numbers(batch: Batch) -> list[int]:
    return [NUMBER_OF[x] for x in batch.dense[:, 0].tolist()]


@given(
    batch_size=st.integers(1, 200).map(lambda n: 6 * n),
    world=st.sampled_from([1, 2, 3]),
    shuffle=st.booleans(),
    seed=st.integers(-5, 5),
)
@settings(max_examples=25, deadline=None)
def test_an_epoch_reads_every_row_once_and_ranks_stay_in_step(
    dataset: PreparedDataset, batch_size: int, world: int, shuffle: bool, seed: int
) -> None:
    seen: list[int] = []
    steps = set()
    for rank in range(world):
        reader = Reader(
            dataset, "train", batch_size, seed=seed, shuffle=shuffle, rank=rank, world=world
        )
        batches = list(reader)
        sizes = [len(batch) for batch in batches]
        assert len(batches) == len(reader)
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= max(batch_size // world, 1)
        steps.add(len(batches))
        seen += [number for batch in batches for number in numbers(batch)]
    assert len(steps) == 1
    assert sorted(seen) == list(range(ROWS))
    assert shuffle or seen == list(range(ROWS))


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_the_rows_that_they_say(dataset: PreparedDataset, shuffle: bool) -> None:
    frame = rows(ROWS)
    for batch in Reader(dataset, "train", 64, shuffle=shuffle):
        assert same(batch, expected(frame[numbers(batch)]))


def test_order_depends_on_seed_and_epoch_alone(dataset: PreparedDataset) -> None:
    def epochs(seed: int) -> list[list[int]]:
        reader = Reader(dataset, "train", 64, seed=seed, shuffle=True)
        return [[n for batch in reader for n in numbers(batch)] for _ in range(2)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]
    neighbours = np.abs(np.diff(first[0]))
    assert np.mean(neighbours == 1) < 0.05


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_resume_is_exact_at_every_position(
    dataset: PreparedDataset, shuffle: bool, world: int
) -> None:
    def reader() -> Reader:
        return Reader(dataset, "train", 64, seed=3, shuffle=shuffle, rank=world - 1, world=world)

    whole = reader()
    unbroken = [batch for _ in range(2) for batch in whole]
    for position in range(len(unbroken) + 1):
        broken = reader()
        taken = 0
        while taken < position:
            for _ in broken:
                taken += 1
                if taken == position:
                    break
        state = broken.state_dict()
        resumed = reader()
        resumed.load_state_dict(state)
        rest: list[Batch] = []
        while len(rest) < len(unbroken) - position:
            rest += resumed
        assert len(rest) == len(unbroken) - position
        assert all(same(a, b) for a, b in zip(rest, unbroken[position:], strict=True))


def test_position_counts_what_was_handed_out_not_what_was_read_ahead(
    dataset: PreparedDataset,
) -> None:
    reader = Reader(dataset, "train", 16)
    batches = iter(reader)
    for _ in range(3):
        next(batches)
    time.sleep(0.1)
    assert reader.state_dict()["position"] == 3


def test_a_position_in_an_epoch_of_other_length_is_refused(dataset: PreparedDataset) -> None:
    state = Reader(dataset, "train", 16).state_dict()
    with pytest.raises(StateError, match="steps"):
        Reader(dataset, "train", 32).load_state_dict(state)


def test_no_thread_outlives_its_epoch(dataset: PreparedDataset) -> None:
    before = threading.active_count()
    for batch in Reader(dataset, "train", 16):
        assert len(batch)
        break
    list(Reader(dataset, "train", 16))
    assert threading.active_count() == before


def test_a_damaged_shard_stops_the_epoch_with_its_name(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, {"train": 200})
    shard = dataset.shards("train")[1]
    reader = Reader(dataset, "train", 16)
    data = bytearray(shard.read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    shard.write_bytes(bytes(data))
    before = threading.active_count()
    with pytest.raises(StateError, match=shard.name):
        list(reader)
    assert threading.active_count() == before
    shard.write_bytes(b"not parquet")
    with pytest.raises(StateError, match=shard.name):
        Reader(dataset, "train", 16)


def test_impossible_sizes_are_refused(dataset: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match="3 processes"):
        Reader(dataset, "train", 64, world=3)
    with pytest.raises(DataError, match="`valid` has 0 rows"):
        Reader(dataset, "valid", 64)
