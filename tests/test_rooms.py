"""Imports go one way, and one file speaks to each outside system."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "models", "serving", "pipelines")
"""Each may import those before it."""
SPEAKERS = {
    "mlflow": {"serving/publishing/registry.py", "pipelines/tracking/mlflow.py"},
    "onnxruntime": {"serving/scoring/onnx_session.py"},
    "sqlite3": {"serving/http/event_store.py"},
    "uvicorn": {"serving/service.py"},
    "yaml": {"pipelines/config/yaml_text.py", "serving/bundle/bundle.py"},
    "matplotlib": {
        "pipelines/figures/run.py",
        "pipelines/figures/balance.py",
        "pipelines/designs/figures.py",
        "pipelines/ab/analysis/figures.py",
        "pipelines/ab/simulation/loop/figure.py",
    },
    "jinja2": {"pipelines/comparison/page.py", "pipelines/ab/analysis/page.py"},
    "tea_tasting": {"pipelines/ab/statistics/tasting.py"},
}


def modules(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imports(path: Path) -> set[str]:
    """Rooms of ours and top-level names of others that a file imports."""
    names = (name.removeprefix("fulcrum.") for name in modules(path))
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("place", range(len(ROOMS)), ids=ROOMS)
def test_a_room_imports_none_above_it(place: int) -> None:
    above = set(ROOMS[place + 1 :]) | {"tests", "benchmarks"}
    wrong = {
        str(path.relative_to(ROOT)): upward
        for path in sorted((ROOT / ROOMS[place]).rglob("*.py"))
        if (upward := above & imports(path))
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


def test_the_wheel_holds_every_package() -> None:
    """The list in `pyproject.toml` names the folders with an `__init__.py`, no more and no less."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(ROOT)
        for room in ("fulcrum", *ROOMS)
        for path in (ROOT / room).rglob("__init__.py")
    }
    names = {".".join(folder.parts) for folder in folders}
    packages = {name if name == "fulcrum" else f"fulcrum.{name}" for name in names}
    assert sorted(setuptools["packages"]) == sorted(packages)


def test_the_wheel_holds_every_file_that_is_no_code() -> None:
    """Each is declared as the data of its package."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    declared = {
        "/".join((*package.removeprefix("fulcrum.").split("."), name))
        for package, names in setuptools["package-data"].items()
        for name in names
    }
    files = {
        path.relative_to(ROOT).as_posix()
        for room in ("fulcrum", *ROOMS)
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert declared == files
