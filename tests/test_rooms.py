"""Imports go one way, and one file speaks to each outside system."""

import ast
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "models", "serving", "pipelines", "fulcrum/testing")
"""Each may import those before it."""
FOLDERS = {
    "features": "values declared tasks past raw files kinds transform prepared reading",
    "models": "layers calibrations objectives agents embedding interactions chains bottoms "
    "gramians trunks regularisers weightings",
    "serving": "bundle scoring http publishing experiments",
    "pipelines": "tracking quality calibration console figures designs config training runs "
    "comparison promotion importance baseline ab commands",
    "pipelines/ab": "statistics simulation metrics log analysis",
}
"""The folders of a room, each of which may import those before it."""
FILES = 16
"""In one folder, beside its subfolders; a family has a file for each member."""
FAMILIES = {"models/weightings"}
SPEAKERS = {
    "mlflow": {
        "serving/publishing/mlflow_model.py",
        "serving/publishing/mlflow_store.py",
        "serving/publishing/python_function.py",
        "serving/publishing/registry.py",
        "pipelines/tracking/mlflow.py",
    },
    "onnxruntime": {"serving/scoring/onnx_session.py"},
    "msgspec": {"serving/http/body.py"},
    "sqlite3": {"serving/http/event_file.py"},
    "uvicorn": {"serving/service.py", "serving/http/connection.py"},
    "yaml": {"pipelines/config/yaml_text.py", "serving/bundle/bundle.py"},
    "matplotlib": {
        "pipelines/figures/run.py",
        "pipelines/figures/balance.py",
        "pipelines/figures/importance.py",
        "pipelines/figures/promotion.py",
        "pipelines/designs/figures.py",
        "pipelines/ab/analysis/figures.py",
        "pipelines/ab/simulation/loop/figure.py",
    },
    "jinja2": {"pipelines/comparison/page.py", "pipelines/ab/analysis/page.py"},
    "lightgbm": {"pipelines/baseline/boosting.py"},
    "tea_tasting": {"pipelines/ab/statistics/intervals/tasting.py"},
}


@cache
def modules(path: Path) -> frozenset[str]:
    """Full names of all modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return frozenset(plain | parts)


def imports(path: Path) -> set[str]:
    """Rooms of ours and top-level names of others that a file imports."""
    names = (name.removeprefix("fulcrum.") for name in modules(path))
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("place", range(len(ROOMS)), ids=ROOMS)
def test_a_room_imports_none_above_it(place: int) -> None:
    above = {Path(room).name for room in ROOMS[place + 1 :]} | {"tests", "benchmarks"}
    wrong = {
        str(path.relative_to(ROOT)): upward
        for path in sorted((ROOT / ROOMS[place]).rglob("*.py"))
        if (upward := above & imports(path))
    }
    assert wrong == {}


def part(room: str, module: str) -> str | None:
    """File or folder of a room that a module of ours lies in; None for modules elsewhere."""
    prefix = "fulcrum." + room.replace("/", ".") + "."
    return module.removeprefix(prefix).split(".")[0] if module.startswith(prefix) else None


@pytest.mark.parametrize("room", FOLDERS)
def test_the_folders_of_a_room_stand_in_this_order(room: str) -> None:
    folders = FOLDERS[room].split()
    assert sorted(folders) == sorted({path.parent.name for path in (ROOT / room).glob("*/*.py")})
    wrong = {
        str(path.relative_to(ROOT)): upward
        for place, folder in enumerate(folders)
        for path in sorted((ROOT / room / folder).rglob("*.py"))
        if (upward := {part(room, module) for module in modules(path)} & set(folders[place + 1 :]))
    }
    assert wrong == {}


@pytest.mark.parametrize("room", FOLDERS)
def test_the_parts_of_a_room_stand_on_each_other(room: str) -> None:
    """Files of the room itself and folders alike: no two lean on each other."""
    paths = (path for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py")
    needs: dict[str, set[str]] = {}
    for path in paths:
        name = path.relative_to(ROOT / room).parts[0].removesuffix(".py")
        parts = {part(room, module) for module in modules(path)}
        needs.setdefault(name, set()).update(p for p in parts if p not in (None, name))
    TopologicalSorter(needs).prepare()


def test_no_folder_is_a_heap() -> None:
    heaps = {
        str(folder.relative_to(ROOT)): files
        for room in ROOMS
        for folder in {path.parent for path in (ROOT / room).rglob("*.py")}
        if (files := len(list(folder.glob("*.py"))) - 1) > FILES
    }
    assert heaps.keys() == FAMILIES


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
    packages = {name if name.startswith("fulcrum") else f"fulcrum.{name}" for name in names}
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
