"""The whole line on the data that ship with the repository, through the command line. Minutes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import read_result
from fulcrum.serving.bundle.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
LOG = "data/kuairand-pure/log/*.parquet"
KUAIRAND = "configs/kuairand/mmoe.yaml"
FEEDBACK = "configs/kuairand-feedback/mmoe.yaml"
BOOSTING = {
    "click": 0.737,
    "long_view": 0.738,
    "like": 0.835,
    "profile_entry": 0.715,
    "comment": 0.78,
}
"""What gradient boosting reaches, by the README of the data, less what noise may take."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all commands run: the repository's configs and data, nothing else."""
    folder = tmp_path_factory.mktemp("line")
    for shared in ("configs", "data"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder


@pytest.fixture(scope="module")
def begin(folder) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fulcrum", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture(scope="module")
def fulcrum(begin) -> Callable[..., str]:
    """Runs a command that must end well; gives what it prints."""

    def run(*arguments: object) -> str:
        process = begin(*arguments)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        return printed

    return run


@pytest.fixture(scope="module")
def kuairand(folder, fulcrum) -> Path:
    """The folder of a finished run of the shipped config."""
    fulcrum("train", KUAIRAND)
    return run_folder(folder, "kuairand-mmoe")


def run_folder(folder: Path, name: str) -> Path:
    [found] = (
        config.parent
        for config in folder.glob(".fulcrum/runs/*/config.yaml")
        if f"name: {name}\n" in config.read_text()
    )
    return found


def metrics(run: Path) -> dict[str, float]:
    return next(iter(json.loads((run / "results.json").read_text())["metrics"].values()))


def test_kuairand_is_as_good_as_boosting(kuairand):
    found = metrics(kuairand)
    assert {
        task: found[f"auc/{task}"] >= least for task, least in BOOSTING.items()
    } == dict.fromkeys(BOOSTING, True), found


def test_a_request_needs_what_the_page_on_serving_shows(kuairand):
    columns = Bundle.load(kuairand / "bundle").state.row_columns
    page = (ROOT / "docs" / "serving.md").read_text()
    assert all(f'"{name}":' in page for name in columns), columns


def test_census_is_nearly_as_good_as_boosting(folder, fulcrum):
    fulcrum("train", "configs/census/mmoe.yaml")
    found = metrics(run_folder(folder, "census-mmoe"))
    assert found["auc/income"] >= 0.945, found
    assert found["auc/never_married"] >= 0.99, found


def test_a_killed_run_ends_with_the_same_bits(folder, begin, fulcrum):
    short = ("--set", "train.epochs=1", "--set", "train.checkpoint_every=20")
    fulcrum("train", FEEDBACK, "--set", "name=unbroken", *short)
    process = begin("train", FEEDBACK, "--set", "name=killed", *short)
    when(lambda: saved(folder, "killed") >= 40, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 40 <= saved(folder, "killed") < steps(folder, "unbroken"), "killed too late"
    fulcrum("train", "--resume", "killed")
    ours, theirs = (
        load_weights(read_result(run_folder(folder, name) / "checkpoints").checkpoint)
        for name in ("unbroken", "killed")
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert metrics(run_folder(folder, "unbroken")) == metrics(run_folder(folder, "killed"))


def steps(folder: Path, name: str) -> int:
    return read_result(run_folder(folder, name) / "checkpoints").step


def saved(folder: Path, name: str) -> int:
    """Steps behind the newest checkpoint of a run; 0 before there is one."""
    try:
        checkpoints = (run_folder(folder, name) / "checkpoints").glob("step-*")
    except ValueError:
        return 0
    return max((int(found.name.removeprefix("step-")) for found in checkpoints), default=0)


def when(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happens():
        assert process.poll() is None, "ended too early"
        time.sleep(0.02)


def test_two_processes_train_as_one(folder, kuairand, fulcrum):
    fulcrum("train", KUAIRAND, "--nproc", 2, "--set", "name=two")
    two = run_folder(folder, "two")
    plan = (two / "checkpoints" / "plan.txt").read_text()
    assert "rank:0/" in plan and "rank:1/" in plan
    ours, theirs = metrics(kuairand), metrics(two)
    apart = {
        task: abs(ours[f"auc/{task}"] - theirs[f"auc/{task}"]) for task in ("click", "long_view")
    }
    assert max(apart.values()) < 0.01, apart


def test_a_million_rows_are_scored_through_a_kill_in_bounded_memory(folder, kuairand, begin):
    log = pl.read_parquet(folder / LOG)
    write_copies(log, folder / "small", files=1)
    write_copies(log, folder / "million", files=6)

    def score(source: str, output: str) -> subprocess.Popen[str]:
        model = ("--model", kuairand / "bundle", "--history", LOG)
        return begin("score", *model, "--input", source, "--output", output)

    small = peak(score("small", "few"))
    large = peak(score("million", "unbroken"))
    print(f"peak RSS: {small:,} MiB for {log.height:,} rows, {large:,} MiB for a million")
    assert large < 1.5 * small

    process = score("million", "killed")
    when(lambda: len(list((folder / "killed").glob("*.parquet"))) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list((folder / "killed").glob("*.parquet"))) < 6
    again = score("million", "killed")
    printed, _ = again.communicate()
    assert again.returncode == 0
    assert f"{6 * log.height:,} rows in 6 file(s)" in printed
    for file in sorted((folder / "unbroken").iterdir()):
        expected = pl.read_parquet(file)
        assert expected.height == log.height
        assert expected.equals(pl.read_parquet(folder / "killed" / file.name))


def write_copies(log: pl.DataFrame, folder: Path, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        log.write_parquet(folder / f"{number}.parquet")


def peak(process: subprocess.Popen[str]) -> int:
    """Peak resident memory of a process that must end well, in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss // 1024
