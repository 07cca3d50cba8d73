"""Imports go one way, and one file speaks to each outside system."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "models", "serving", "pipelines")
"""Each may import those before it."""
SPEAKERS = {
    "mlflow": {"serving/registry.py", "pipelines/tracking.py"},
    "onnxruntime": {"serving/session.py"},
    "sqlite3": {"serving/store.py"},
    "uvicorn": {"serving/service.py"},
    "yaml": {"pipelines/document.py", "serving/bundle.py"},
    "matplotlib": {
        "pipelines/figures.py",
        "pipelines/balance_figures.py",
        "pipelines/propensity_figures.py",
        "pipelines/ab/figures.py",
    },
    "jinja2": {"pipelines/page.py", "pipelines/ab/page.py"},
    "tea_tasting": {"pipelines/ab/tasting.py"},
}


def imports(path: Path) -> Iterator[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("place", range(len(ROOMS)), ids=ROOMS)
def test_a_room_imports_none_above_it(place: int) -> None:
    above = set(ROOMS[place + 1 :]) | {"tests", "benchmarks"}
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sorted((ROOT / ROOMS[place]).rglob("*.py"))
        if (found := above & set(imports(path)))
    }
    assert wrong == {}


@pytest.mark.parametrize("system", SPEAKERS)
def test_one_file_speaks_to_each_system(system: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if system in imports(path)
    }
    assert found == SPEAKERS[system]
