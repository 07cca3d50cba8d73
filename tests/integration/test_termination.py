"""Real processes ended by a signal, and what MLflow then says of their runs."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from fulcrum.features.errors import DataError, ResourceError
from fulcrum.pipelines.ab.analysis.analyse import analyse
from fulcrum.pipelines.console.termination import terminable
from fulcrum.pipelines.tracking.mlflow import MlflowTracker, client, start_run
from fulcrum.serving.scoring.history import History
from fulcrum.testing.specs import learn
from tests.pipelines.runs.test_run import YAML, write_log

STORE = "sqlite:///store.db"


def wait(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fulcrum", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def states() -> dict[str, str]:
    """The status of each run, by name."""
    store = client(STORE)
    runs = store.search_runs([e.experiment_id for e in store.search_experiments()])
    return {run.info.run_name: run.info.status for run in runs}


def workers(folder: Path) -> list[int]:
    """The processes of a training in that folder."""
    lines = {int(path.parent.name): read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [
        number
        for number, line in lines.items()
        if "training.worker" in line and f"{folder}/" in line
    ]


def read(path: Path) -> str:
    """The command of a process, if it is still there."""
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log, and configs that train for long."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.parquet")
    text = YAML.format(folder=tmp_path).replace("epochs: 2,", "epochs: 5000, early_stopping: null,")
    (tmp_path / "small.yaml").write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "runs", "number", "everyone"),
    [
        (["train"], ["small"], signal.SIGTERM, False),
        (["train", "--nproc", "2"], ["small"], signal.SIGTERM, False),
        (["train", "--nproc", "2"], ["small"], signal.SIGTERM, True),
        (["train", "--nproc", "2"], ["small"], signal.SIGHUP, False),
        (["train", "--nproc", "2"], ["small"], signal.SIGINT, False),
        (["compare"], ["compare", "small"], signal.SIGTERM, False),
    ],
)
def test_a_training_that_is_ended_is_killed_in_mlflow_too(
    folder: Path, arguments: list[str], runs: list[str], number: signal.Signals, everyone: bool
) -> None:
    """Slurm signals the processes of a training, too."""
    process = command(arguments[0], "small.yaml", *arguments[1:])
    wait(lambda: list(folder.glob("work/runs/*/checkpoints/step-*")), process)
    assert states() == dict.fromkeys(runs, "RUNNING")
    assert len(workers(folder)) == 2 * ("--nproc" in arguments)
    for each in [*(workers(folder) if everyone else []), process.pid]:
        os.kill(each, number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert "fulcrum train --resume" in errors
    assert states() == dict.fromkeys(runs, "KILLED")
    assert workers(folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_is_killed_by_the_first_of_several_signals(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = start_run(STORE, "e", "r")
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, terminable(), MlflowTracker(STORE, run):
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
    assert end.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert states() == {"r": "KILLED"}


def test_what_is_raised_for_a_signal_does_not_hide_it() -> None:
    with pytest.raises(SystemExit) as end, terminable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise ResourceError("no space left") from None
    assert end.value.code == 128 + signal.SIGTERM


def test_nohup_is_kept() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_while_a_run_begins_leaves_it_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = start_run(STORE, "e", "r")
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    monkeypatch.setattr(SystemMetricsMonitor, "start", lambda _: stop())
    with pytest.raises(SystemExit), terminable(), MlflowTracker(STORE, run):
        raise AssertionError("never begins")
    assert states() == {"r": "KILLED"}


ENDS: dict[str, Callable[[], object]] = {
    **{
        number.name: partial(os.kill, os.getpid(), number)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    },
    "error": lambda: (_ for _ in ()).throw(DataError("no such day")),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_folder_of_the_moment_is_left(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves `fulcrum-*` in the folder for temporary files, all other ends nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = pl.DataFrame({"user": range(9), "at": range(9)})
    rows.write_parquet(tmp_path / "log.parquet")
    seen = {"kind": "window", "key": "user", "statistic": "count"}
    data = {"time": {"column": "at", "unit": "s", "earliest": "1970-01-01"}}
    history = History(str(tmp_path / "log.parquet"), learn(rows, {"seen": seen}, data=data))
    during = []

    def stop(*_: object) -> None:
        during.append({path.name[:11] for path in tmp_path.glob("fulcrum-*")})
        ENDS[end]()

    monkeypatch.setattr("fulcrum.pipelines.ab.analysis.analyse._analyse", stop)
    for work in (lambda: gathering(history, stop), lambda: analyse(["log"], None)):
        with pytest.raises((SystemExit, KeyboardInterrupt, DataError)), terminable():
            work()
    assert during == [{"fulcrum-his"}, {"fulcrum-ab-"}]
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def gathering(history: History, then: Callable[[], None]) -> None:
    with history.gathered():
        then()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_server_is_left_when_the_pages_of_mlflow_are_ended(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = start_run(STORE, "e", "shown")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    arguments = ("ui", "--tracking", STORE, "--port", str(port))

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    process = command(*arguments)
    wait(answers, process)
    page = f"{address}/api/2.0/mlflow/runs/get?run_id={run}"
    with urllib.request.urlopen(page) as answer:
        assert b'"shown"' in answer.read()
    second = command(*arguments)
    _, errors = second.communicate(timeout=100)
    assert (second.returncode, len(errors.splitlines())) == (2, 1)
    assert f"{port}: the port is in use" in errors
    os.kill(process.pid, number)
    process.wait(30)
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens any more
