"""The command line in this process, and one store for the runs of all tests."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.console import terminal


@dataclass
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def fulcrum(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Done]:
    """Runs a command."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        monkeypatch.setattr(terminal, "results", Console(width=200))
        monkeypatch.setattr(terminal, "messages", Console(stderr=True))
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Making the tables of a store takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'runs.db'}"
