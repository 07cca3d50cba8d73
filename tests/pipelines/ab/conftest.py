"""The command line in this process, one store for the runs of all tests, and cheap reports."""

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from fulcrum.pipelines.__main__ import main
from fulcrum.pipelines.ab.statistics import bootstrap, sequential
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


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests of many reports: what costs time says less. So few draws disagree with the formula
    at times, which is a doubt. statsmodels collects garbage at every p-value that it adjusts."""
    monkeypatch.setattr(bootstrap, "compare", partial(bootstrap.compare, draws=100))
    monkeypatch.setattr(sequential, "PATHS", 40)
    monkeypatch.setattr(sequential, "LOOKS", 20)
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
    for cached in (sequential.detectable, sequential._motion):
        cached.cache_clear()
    yield
    for cached in (sequential.detectable, sequential._motion):
        cached.cache_clear()
