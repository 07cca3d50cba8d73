"""The command line in this process, a shop with a trained model, and an installed wheel."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.console import terminal
from tests.integration.installed import build_wheel, make_environment
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


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Fulcrum's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of a fresh environment that holds the wheel; not to be installed into."""
    return make_environment(tmp_path_factory.mktemp("fresh"), wheel)
