"""The log of an experiment: every row once, whatever is killed, full, retried or rotated."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from fulcrum.features.errors import DataError, ResourceError, StateError
from fulcrum.serving.experiments.columns import EXPOSURE, TIME, schemas
from fulcrum.serving.experiments.exposure_log import ExposureLog, read_assignments, read_log
from tests.serving.small_experiments import experiment

COLUMNS = {"item": pl.Int64(), "score.click": pl.Float64()}
ROTATE = 3000


def exposures(request, rows=2, first_unit=0):
    """Answered rows; the item says what request and row they are of."""
    frame = pl.DataFrame({"row": range(rows)}, schema={"row": pl.Int32})
    return frame.select(
        pl.lit(str(request)).alias("request"),
        "row",
        pl.lit(datetime.now(UTC), TIME).alias("time"),
        (pl.col("row") + first_unit).cast(pl.String).alias("unit"),
        pl.lit("control").alias("arm"),
        pl.lit(0, pl.Int32).alias("instance"),
        pl.lit("small").alias("model"),
        pl.lit("1").alias("version"),
        (pl.lit(request, pl.Int64) * 1000 + pl.col("row")).alias("item"),
        (pl.col("row") / 10).alias("score.click"),
    )


def outcomes(request, row, **values):
    known = {"click": None, "seconds": None, **values}
    return pl.DataFrame(
        [{"request": str(request), "row": row, "time": datetime.now(UTC), **known}],
        schema=schemas({}, known)["outcomes"],
    )


def opened(folder, rotate_bytes=ROTATE, **changes):
    return ExposureLog(folder, experiment(**changes), COLUMNS, rotate_bytes)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def log(folder):
    log = opened(folder)
    yield log
    log.close()


def logged(folder):
    return [(int(r), i) for r, i in read_log(folder).collect().select("request", "row").iter_rows()]


def rows_of(requests, rows=2):
    return [(request, row) for request in requests for row in range(rows)]


def files(folder, name="exposures"):
    return sorted(path.name for path in (folder / name).iterdir())


def test_rows_come_out_in_order_whatever_is_parquet_by_then(folder):
    log = opened(folder)
    for request in range(60):
        log.expose(str(request), exposures(request))
        if request % 20 == 0:
            log.add_outcomes(outcomes(request, 1, click=1.0))
        assert logged(folder) == rows_of(range(request + 1))
    log.close()
    assert len(files(folder)) > 3
    assert files(folder, "journal") == []
    assert logged(folder) == rows_of(range(60))
    found = read_log(folder).collect()
    assert found.columns == [*EXPOSURE, *COLUMNS, "click", "seconds"]
    assert found["item"].to_list() == [r * 1000 + i for r, i in rows_of(range(60))]
    clicked = found.filter(pl.col("click") == 1).select("request", "row")
    assert list(clicked.iter_rows()) == [(str(r), 1) for r in (0, 20, 40)]


def test_the_whole_plan_can_be_streamed_to_a_file(log, folder, tmp_path):
    for request in range(60):
        log.expose(str(request), exposures(request))
        log.add_outcomes(outcomes(request, 0, click=0.0, seconds=float(request)))
    for request in range(60):
        log.add_outcomes(outcomes(request, 0, click=1.0))
    read_log(folder).sink_parquet(tmp_path / "all.parquet")
    found = pl.read_parquet(tmp_path / "all.parquet").filter(pl.col("row") == 0)
    assert found.select("click", "seconds").rows() == [(1.0, float(r)) for r in range(60)]


def test_an_empty_log_has_its_columns(log, folder):
    found = read_log(folder).collect()
    assert found.height == 0
    assert set(found.columns) >= {*EXPOSURE, "click", "seconds"}


def test_units_are_assigned_once_over_restarts(folder):
    for _ in range(3):
        log = opened(folder)
        for request in range(5):
            log.expose(str(request), exposures(request, rows=3, first_unit=request))
        log.close()
    assert read_assignments(folder).collect()["unit"].to_list() == [str(u) for u in range(7)]
    assert pl.read_parquet(folder / "assignments" / "*.parquet").height == 7


def test_a_retry_is_known_before_and_after_a_restart(folder):
    log = opened(folder)
    assert log.expose("1", exposures(1), content=5) is not None
    assert log.expose("1", exposures(1), content=5) is None
    with pytest.raises(DataError, match="'1' is the id of an earlier request"):
        log.expose("1", exposures(1), content=6)
    log.close()
    log = opened(folder)
    assert log.expose("1", exposures(1), content=6) is None
    log.close()
    assert logged(folder) == rows_of([1])


def test_what_was_forgotten_is_read_once_all_the_same(folder):
    log = ExposureLog(folder, experiment(), COLUMNS, ROTATE, remembered=3)
    for request in [*range(20), *range(20)]:
        log.expose(str(request), exposures(request, first_unit=request))
    log.add_outcomes(outcomes(0, 1, click=1.0))
    with pytest.raises(DataError, match="no request '20' is in the log"):
        log.add_outcomes(outcomes(20, 1, click=1.0))
    log.close()
    assert pl.read_parquet(folder / "exposures" / "*.parquet").height == 80
    assert logged(folder) == rows_of(range(20))
    assert read_assignments(folder).collect()["unit"].to_list() == [str(u) for u in range(21)]
    log = ExposureLog(folder, experiment(), COLUMNS, ROTATE, remembered=3)
    assert list(log._requests) == ["17", "18", "19"]
    log.close()


@pytest.mark.parametrize("done", range(4), ids=lambda done: f"{done} steps")
def test_a_crash_between_parquet_and_the_journals_end_loses_and_doubles_nothing(
    folder, monkeypatch, done
):
    """Steps are the renames of three tables, then the journal's removal."""
    log = opened(folder, rotate_bytes=10**9)
    log.expose("1", exposures(1))
    log.add_outcomes(outcomes(1, 0, click=1.0))
    steps = iter(range(done))

    def step(real):
        def stepped(self, *arguments):
            if next(steps, None) is None:
                raise InterruptedError("killed")
            return real(self, *arguments)

        return stepped

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", step(Path.rename))
        patched.setattr(Path, "unlink", step(Path.unlink))
        log.close()
    assert len(files(folder, "journal")) == 1
    assert sum(len(files(folder, t)) for t in ("assignments", "exposures", "outcomes")) >= done
    for _ in range(2):
        assert logged(folder) == rows_of([1])
        assert read_log(folder).collect()["click"].to_list() == [1.0, None]
        assert read_assignments(folder).collect().height == 2
        opened(folder).close()
        assert files(folder, "journal") == []
        assert files(folder) == ["000001.parquet"]


def test_a_torn_last_line_was_never_answered(folder):
    log = opened(folder)
    log.expose("1", exposures(1))
    log._journal.close()
    os.close(log._folder_lock)
    with log._journal.path.open("ab") as file:
        file.write(b'{"exposures": [{"request": "2", "ro')
    assert logged(folder) == rows_of([1])
    log = opened(folder)
    assert log.expose("2", exposures(2)) is not None
    log.close()
    assert logged(folder) == rows_of([1, 2])


def test_a_disk_that_is_full_for_parquet_keeps_the_journal(folder, monkeypatch, caplog):
    log = opened(folder)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", full)
        for request in range(20):
            log.expose(str(request), exposures(request))
            assert logged(folder) == rows_of(range(request + 1))
        log.close()
    assert any("stays in its journal" in message for message in caplog.messages)
    assert files(folder) == []
    log = opened(folder)
    assert log.expose("7", exposures(7)) is None
    log.close()
    assert files(folder, "journal") == []
    assert logged(folder) == rows_of(range(20))


def test_a_disk_that_is_full_for_a_new_journal_goes_on_with_the_old(folder, monkeypatch):
    log = opened(folder)

    def full(self):
        raise ResourceError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(ExposureLog, "_next", full)
        for request in range(20):
            log.expose(str(request), exposures(request))
    assert len(files(folder, "journal")) == 1
    log.expose("20", exposures(20))
    log.close()
    assert logged(folder) == rows_of(range(21))


def test_readers_and_writers_do_not_wait_for_one_another(folder):
    """Several threads write, one reads, while the log rotates with every few requests."""
    log = opened(folder)

    def write(start):
        for request in range(start, 120, 3):
            log.expose(str(request), exposures(request))

    writers = [threading.Thread(target=write, args=(start,)) for start in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found = logged(folder)
        assert len(found) == len(set(found))
        for start in range(3):
            own = [request for request, row in found if request % 3 == start and row == 0]
            assert own == list(range(start, 120, 3))[: len(own)]
    log.close()
    assert sorted(logged(folder)) == rows_of(range(120))


def test_one_service_writes_a_folder(log, folder):
    with pytest.raises(ResourceError, match="another service is writing this log"):
        opened(folder)
    log.expose("1", exposures(1))
    assert logged(folder) == rows_of([1])


def test_a_folder_is_of_one_experiment_whose_traffic_may_change(folder):
    opened(folder, traffic=0.1).close()
    opened(folder, traffic=0.5).close()
    assert json.loads((folder / "experiment.json").read_text())["traffic"] == 0.5
    arms = {
        "control": {"share": 0.2, "models": "models:/small@champion"},
        "treatment": {"share": 0.8, "models": "models:/small@challenger"},
    }
    for changes, message in (
        ({"salt": "other"}, r"another experiment: `salt` was \"\", now \"other\""),
        ({"arms": arms}, r"`arms\.control\.share` was 0\.5, now 0\.2"),
        ({"outcomes": ["click"]}, "`outcomes` was"),
    ):
        with pytest.raises(StateError, match=message):
            opened(folder, **changes)
    opened(folder).close()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StateError, match=r"no log of an experiment, but holds notes\.txt"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(StateError, match=r"experiment\.json is missing"):
        read_log(tmp_path)
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(StateError, match=r"experiment\.json: damaged"):
        read_log(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(ResourceError, match="may not be written to"):
        opened(tmp_path / "log")


KILLED = """
import os, sys
from pathlib import Path
from tests.serving.experiments.test_exposure_log import exposures, opened
log = opened(Path(sys.argv[1]))
for request in range(int(sys.argv[2]), 10**6):
    log.expose(str(request), exposures(request))
    os.write(1, b"%d\\n" % request)
"""


def killed(folder, first, after):
    """Requests that a process said it has logged before it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(first)], stdout=subprocess.PIPE
    )
    said = [int(process.stdout.readline())]
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line[-1:]]
    process.wait()
    process.stdout.close()
    return said


def test_a_killed_service_loses_nothing_that_it_answered(folder):
    """What it said it has logged is there, once; of the request that it was at, all rows or none;
    so after each kill, and after the next start has cleaned up."""
    chance, first, answered = random.Random(0), 0, []
    for _ in range(3):
        said = killed(folder, first, chance.uniform(0.01, 0.1))
        assert said == list(range(first, first + len(said)))
        answered += said
        found = logged(folder)
        requests = sorted({request for request, _ in found})
        assert sorted(found) == rows_of(requests)
        assert set(answered) <= set(requests)
        unsaid = set(requests) - set(answered)
        assert len(unsaid) <= 3
        first = said[-1] + 1
    before = logged(folder)
    opened(folder).close()
    assert logged(folder) == before
    assert len(files(folder)) > 5
