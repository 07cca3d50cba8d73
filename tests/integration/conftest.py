"""The command line in this process, and a shop with a trained model."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.console import terminal
from tests.integration.shop import write_shop


@dataclass
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def fulcrum(monkeypatch, capsys) -> Callable[..., Done]:
    """Runs a command as the console script does, but saves a process its start."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        monkeypatch.setattr(terminal, "results", Console(width=200))
        monkeypatch.setattr(terminal, "messages", Console(stderr=True))
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which `fulcrum train shop.yaml` has run once; not to be changed."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["fulcrum", "train", "shop.yaml"])
        main()
    assert not stop.value.code
    return folder


@pytest.fixture
def shop(trained, tmp_path, monkeypatch) -> Path:
    """The working directory: a copy of the trained shop."""
    folder = shutil.copytree(trained, tmp_path / "shop")
    monkeypatch.chdir(folder)
    return folder
