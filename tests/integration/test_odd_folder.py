"""From logs to scores in a folder with a name that is a glob, an escape, a query and a comment."""

import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.runs import run as runs
from tests.pipelines.runs.test_run import YAML, write_log

NAME = "100%25 #1?x&y=[1] 'żó'*"


def fulcrum(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        main()
    assert end.value.code in (None, 0)


@pytest.mark.slow
@pytest.mark.parametrize("absolute", [False, True])
def test_everything_lies_in_the_folder(
    absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    write_log(folder / "log.parquet")
    here = folder if absolute else Path()
    monkeypatch.chdir(tmp_path if absolute else folder)
    monkeypatch.setattr(runs, "draw", lambda *_: None)
    config = yaml.safe_load(YAML.format(folder="."))
    config["workspace"] = str(here / "work")
    config["data"] |= {"events": str(here / "log.parquet"), "session": {"key": "user"}}
    config["features"]["seen"] = {"kind": "history", "key": "user", "attributes": ["item"]}
    config["tracking"]["uri"] = uri = f"sqlite:///{here / 'store.db'}"
    (here / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    fulcrum("train", here / "small.yaml")
    fulcrum("evaluate", "small", "--tracking", uri)
    model = (
        "--model",
        "models:/small@champion",
        "--tracking",
        uri,
        "--history",
        config["data"]["events"],
    )
    fulcrum("score", *model, "--input", here / "log.parquet", "--output", here / "scores")
    assert pl.read_parquet(here / "scores" / "log.parquet", glob=False).height == 900
    assert list(tmp_path.iterdir()) == [folder]
    made = {"store.db", "mlruns", "work", "scores", "small.yaml", "log.parquet"}
    assert {path.name for path in folder.iterdir()} == made
