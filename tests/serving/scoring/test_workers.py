"""Files scored by several processes or in shards: the bytes of one process, one end for all."""

import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from multiprocessing import active_children

import polars as pl
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.features.errors import ConfigError, DataError, ResourceError
from fulcrum.serving.scoring.files import score_files
from fulcrum.serving.scoring.shard import Shard
from tests.serving.conftest import make_log

KILL = """
import multiprocessing, os, signal, sys
from pathlib import Path
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.files import score_files
folder, inputs, output = sys.argv[1:]
def progress(file, rows):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
score_files(Bundle.load(Path(folder)), inputs, Path(output), device="cpu", workers=2,
            progress=progress)
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As the processes have it; it must not outlive the test."""
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")


@pytest.fixture
def inputs(tmp_path):
    for i in range(6):
        folder = tmp_path / "logs" / f"day={i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = make_log(700, seed=50 + i).with_columns(pl.col("user_id") + i)
        rows.head(0 if i == 3 else 700).write_parquet(folder / f"part{i}.parquet")
    return tmp_path / "logs"


@pytest.fixture
def score(bundle, inputs, tmp_path):
    """`score(output, **more)` scores the inputs there."""

    def score(output, **more):
        return score_files(bundle, str(inputs), tmp_path / output, device="cpu", **more)

    return score


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet*")}


def test_processes_write_the_bytes_that_one_writes(score, log, tmp_path):
    log.write_parquet(tmp_path / "past.parquet")
    seen, history = [], str(tmp_path / "past.parquet")
    alone = score("alone", history=history)
    report = score("several", history=history, workers=3, progress=lambda *file: seen.append(file))
    assert report == alone
    assert report.rows == 5 * 700 and report.unknown["user"] > 0
    assert contents(tmp_path / "several") == contents(tmp_path / "alone")
    names = [(f"part{i}.parquet", 0 if i == 3 else 700) for i in range(6)]
    assert sorted((file.name, rows) for file, rows in seen) == names
    assert not active_children()


def test_shards_write_the_bytes_of_the_whole_and_each_file_once(score, log, tmp_path):
    """There are more shards than files in the end."""
    log.write_parquet(tmp_path / "past.parquet")
    history = str(tmp_path / "past.parquet")
    alone = score("alone", history=history)
    for of in (3, 7):
        reports = [
            score(f"of{of}", history=history, shard=Shard(number, of))
            for number in range(1, of + 1)
        ]
        assert contents(tmp_path / f"of{of}") == contents(tmp_path / "alone")
        assert [report.files for report in reports] == {3: [2] * 3, 7: [1] * 6 + [0]}[of]
        assert sum(report.rows for report in reports) == alone.rows
        assert sum((Counter(report.unknown) for report in reports), Counter()) == alone.unknown
        assert score(f"of{of}", history=history).skipped == 6, "the whole has nothing left to do"


def test_a_shard_has_the_types_of_all_files(bundle, inputs, tmp_path):
    """A key that the model does not read is wider in one file, so it is in all."""
    data = bundle.state.spec.data.model_copy(update={"keys": ("user_id", "request")})
    spec = bundle.state.spec.model_copy(update={"data": data})
    bundle = replace(bundle, state=replace(bundle.state, spec=spec))
    for place, file in enumerate(sorted(inputs.rglob("*.parquet"))):
        dtype = pl.Int32() if place else pl.Int64()
        pl.read_parquet(file).with_columns(request=pl.lit(1, dtype)).write_parquet(file)
    for number in (1, 2):
        output = tmp_path / "scores"
        score_files(bundle, str(inputs), output, device="cpu", shard=Shard(number, 2))
    schemas = [pl.read_parquet_schema(file) for file in output.rglob("*.parquet")]
    assert [schema["request"] for schema in schemas] == [pl.Int64()] * 6


@given(st.integers(1, 40), st.integers(0, 60))
def test_each_file_is_in_one_shard(of, files):
    shares = [Shard.parse(f"{number}/{of}").share(range(files)) for number in range(1, of + 1)]
    assert sorted(file for share in shares for file in share) == [*range(files)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2"])
def test_what_is_no_shard_is_told_with_an_example(text):
    with pytest.raises(ConfigError, match="expected I/N with I from 1 to N, as 2/8"):
        Shard.parse(text)


def test_a_killed_run_leaves_no_process_and_goes_on_where_it_stopped(
    score, bundle, inputs, tmp_path
):
    score("alone")
    command = [sys.executable, "-c", KILL, *map(str, (bundle.folder, inputs, tmp_path / "killed"))]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("\n")) == (-9, 1), "more than the missing history"
    pids = [int(pid) for pid in ran.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
    left = contents(tmp_path / "killed")
    whole = contents(tmp_path / "alone")
    assert left.items() < whole.items()
    assert score("killed", workers=2).skipped == len(left)
    assert contents(tmp_path / "killed") == whole


def test_a_process_that_dies_stops_all(score, tmp_path):
    def kill(file, rows):
        for child in active_children():
            child.kill()

    with pytest.raises(ResourceError, match="a process that scores ended with exit code -9"):
        score("scores", workers=2, progress=kill)
    assert not active_children()
    done = len(list((tmp_path / "scores").rglob("part?.parquet")))
    assert done < 6
    assert score("scores").skipped == done


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_file_is_named_and_leaves_nothing_half_written(score, inputs, tmp_path, workers):
    data = bytearray((inputs / "day=0" / "part0.parquet").read_bytes())
    data[200:900] = bytes(700)
    (inputs / "day=0" / "part0.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"part0\.parquet cannot be read"):
        score("scores", workers=workers)
    assert not list(tmp_path.glob("scores/**/.*"))
    assert not active_children()


def test_an_interrupt_ends_all(score, tmp_path):
    def interrupt(file, rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score("scores", workers=2, progress=interrupt)
    assert not active_children()
    assert not list(tmp_path.glob("scores/**/.*"))
