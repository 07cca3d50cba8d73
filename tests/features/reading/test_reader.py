import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError, DataError, StateError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading import reader
from fulcrum.features.reading.batch import PADDING, Batch, from_arrays
from fulcrum.features.reading.granularity import deal, session_runs
from fulcrum.features.reading.reader import Reader
from tests.prepared import LAYOUT, prepare, rows, sessions

ROWS = 500


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": ROWS}, shards=3, group=32)


@pytest.fixture(scope="module")
def of_sessions(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Sessions go over the edges of row groups and shards."""
    folder = tmp_path_factory.mktemp("sessions")
    return prepare(folder, {"train": ROWS}, shards=3, group=32, with_sessions=True)


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BUFFER_ROWS", 100)


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
        frame["row.session"].to_numpy() if "row.session" in frame.columns else None,
        frame["row.key.n"].to_numpy(),
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
            (one.session, other.session),
            (one.row, other.row),
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


@given(
    batch_size=st.integers(1, 100).map(lambda n: 6 * n),
    world=st.sampled_from([1, 2, 3]),
    shuffle=st.booleans(),
    seed=st.integers(-5, 5),
)
@settings(max_examples=12, deadline=None)
def test_sessions_are_read_whole_once_and_in_time_order(
    of_sessions: PreparedDataset, batch_size: int, world: int, shuffle: bool, seed: int
) -> None:
    numbers_of = sessions(ROWS)
    seen: list[int] = []
    steps = set()
    for rank in range(world):
        reader = Reader(
            of_sessions,
            "train",
            batch_size,
            seed=seed,
            shuffle=shuffle,
            sessions=True,
            rank=rank,
            world=world,
        )
        for _ in range(2):
            batches = list(reader)
        steps |= {len(batches), len(reader)}
        for batch in batches:
            assert len(batch) > 0
            seen += batch.row.tolist()
            runs = pl.Series(batch.session.numpy()).rle()
            assert runs.struct.field("value").n_unique() == len(runs)
            for number, length in runs.struct.unnest().select("value", "len").rows():
                assert length == (numbers_of == number).sum()
                own = batch.row[batch.session == number]
                assert (own.diff() == 1).all()
    assert len(steps) == 1
    assert sorted(seen) == list(range(ROWS))
    assert shuffle or seen == list(range(ROWS))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_batches_of_sessions_hold_the_rows_that_they_say(
    of_sessions: PreparedDataset, shuffle: bool, whole: bool
) -> None:
    frame = rows(ROWS).with_columns(sessions(ROWS))
    for batch in Reader(of_sessions, "train", 64, shuffle=shuffle, sessions=whole):
        assert batch.row.tolist() == numbers(batch)
        assert same(batch, expected(frame[numbers(batch)]))


def test_sessions_are_shuffled_and_every_epoch_anew(of_sessions: PreparedDataset) -> None:
    reader = Reader(of_sessions, "train", 64, shuffle=True, sessions=True)
    first, second = ([n for batch in reader for n in batch.row.tolist()] for _ in range(2))
    begins = sessions(ROWS).rle().struct.field("len").cum_sum().shift(1, fill_value=0)
    assert first != second
    order = [begins.to_list().index(n) for n in first if n in set(begins)]
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.1


@pytest.mark.parametrize("batch_size", [6, 64, 200])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_sessions_are_as_equal_as_whole_ones_allow(
    of_sessions: PreparedDataset, batch_size: int, shuffle: bool
) -> None:
    """Each edge lies within half a session, of at most 6 rows, of where it is wanted."""
    reader = Reader(of_sessions, "train", batch_size, shuffle=shuffle, sessions=True)
    sizes = [len(batch) for batch in reader]
    assert len(sizes) == -(-ROWS // batch_size)
    wanted = ROWS * np.arange(1, len(sizes) + 1) // len(sizes)
    assert np.abs(np.cumsum(sizes) - wanted).max() <= (3 if batch_size > 6 else 12)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_resuming_among_sessions_is_exact(
    of_sessions: PreparedDataset, shuffle: bool, world: int
) -> None:
    def reader() -> Reader:
        return Reader(
            of_sessions,
            "train",
            64,
            seed=3,
            shuffle=shuffle,
            sessions=True,
            rank=world - 1,
            world=world,
        )

    whole = reader()
    unbroken = [batch for _ in range(2) for batch in whole]
    for position in range(len(unbroken)):
        resumed = reader()
        resumed.load_state_dict({**whole.state_dict(), "position": position})
        rest: list[Batch] = []
        while len(rest) < len(unbroken) - position:
            rest += resumed
        assert all(same(a, b) for a, b in zip(rest, unbroken[position:], strict=True))


@pytest.mark.parametrize("length", [500, 40])
def test_a_session_longer_than_a_batch_and_a_buffer_is_one_batch(
    tmp_path: Path, length: int
) -> None:
    dataset = prepare(tmp_path, {"train": ROWS}, shards=3, group=32)
    for shard in dataset.shards("train"):
        frame = pl.read_parquet(shard)
        number = pl.col("row.key.n") // length
        frame.with_columns(number.alias("row.session")).write_parquet(shard, row_group_size=32)
    reader = Reader(dataset, "train", 16, sessions=True, shuffle=True)
    sizes = [len(batch) for batch in reader]
    count = -(-ROWS // length)
    assert sorted(sizes) == sorted([length] * (count - 1) + [ROWS - length * (count - 1)])
    with pytest.raises(DataError, match=f"{count} sessions for 16 processes"):
        Reader(dataset, "train", 16, sessions=True, world=16)


def test_data_without_sessions_say_what_to_do(dataset: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match=r"data\.session: .* have no sessions"):
        Reader(dataset, "train", 64, sessions=True)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=6))
def test_runs_of_sessions_cover_the_rows(parts: list[list[int]]) -> None:
    edges = np.cumsum([0, *map(len, parts)]).tolist()
    runs = session_runs(edges, [np.array(part, np.int64) for part in parts])
    whole = [number for part in parts for number in part]
    place = 0
    for run in runs:
        assert run.start == place
        for size in run.sizes.tolist():
            assert len(set(whole[place : place + size])) == 1
            assert place == 0 or whole[place - 1] != whole[place]
            place += size
    assert place == len(whole)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.data())
def test_dealing_gives_everyone_enough(sizes: list[int], data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, len(sizes)))
    least = data.draw(st.integers(1, len(sizes) // parts))
    edges = deal(np.array(sizes), parts, least)
    assert (edges[0], edges[-1]) == (0, len(sizes))
    assert np.diff(edges).min() >= least
    assert deal(np.ones(len(sizes), int), parts).tolist() == [
        len(sizes) * part // parts for part in range(parts + 1)
    ]
