"""Six trainings that begin together in an empty folder, and the one store that they all make."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.pipelines.runs.test_run import YAML, write_log

TOGETHER = 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_trainings_share_a_store_that_none_has_made_yet(tmp_path: Path) -> None:
    write_log(tmp_path / "log.parquet")
    text = YAML.format(folder=tmp_path).replace("epochs: 2", "epochs: 1")
    (tmp_path / "small.yaml").write_text(text)
    command = [sys.executable, "-m", "fulcrum", "train", "small.yaml"]
    trainings = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(TOGETHER)
    ]
    ends = [(*training.communicate(), training.returncode) for training in trainings]
    assert [code for *_, code in ends] == [0] * TOGETHER, ends
    lines = [line.strip() for printed, *_ in ends for line in printed.splitlines()]
    versions = {line for line in lines if line.startswith("registered as ")}
    numbers = range(1, TOGETHER + 1)
    assert versions == {f"registered as models:/small/{number}" for number in numbers}
    with closing(sqlite3.connect(tmp_path / "store.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)] * TOGETHER
        found = store.execute("SELECT version FROM model_versions ORDER BY version").fetchall()
        assert found == [(number,) for number in numbers]
    made = {"log.parquet", "small.yaml", "store.db", "mlruns", "work"}
    assert {path.name for path in tmp_path.iterdir()} == made
    assert len(list((tmp_path / "work" / "prepared").iterdir())) == 1
