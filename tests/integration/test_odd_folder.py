"""From logs to scores in a folder with a name that is a glob, an escape, a query and a comment."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.integration.odd_logs import FOLDER, fulcrum
from tests.pipelines.runs.test_run import YAML, write_log


@pytest.mark.slow
def test_everything_lies_in_the_folder_that_paths_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the root; `odd_logs` works in the folder."""
    here = tmp_path / FOLDER
    here.mkdir()
    write_log(here / "log.parquet")
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(YAML.format(folder="."))
    config["workspace"] = str(here / "work")
    config["data"] |= {"events": str(here / "log.parquet"), "session": {"key": "user"}}
    config["features"]["seen"] = {"kind": "history", "key": "user", "attributes": ["item"]}
    config["tracking"]["uri"] = uri = f"sqlite:///{here / 'store.db'}"
    (here / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    model = ("--model", "models:/small@candidate", "--tracking", uri)
    logs = ("--input", here / "log.parquet", "--history", here / "log.parquet")
    for command in (
        ("train", here / "small.yaml"),
        ("evaluate", "small", "--tracking", uri),
        ("score", *model, *logs, "--output", here / "scores"),
    ):
        assert fulcrum(*command).code == 0
    assert pl.read_parquet(here / "scores" / "log.parquet", glob=False).height == 900
    assert list(tmp_path.iterdir()) == [here]
    made = {"store.db", "mlruns", "work", "scores", "small.yaml", "log.parquet"}
    assert {path.name for path in here.iterdir()} == made
