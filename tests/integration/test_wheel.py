"""The wheel in a fresh environment, beside packages that bear the names of our folders."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fulcrum.features.errors import StateError
from fulcrum.serving.bundle.bundle import Bundle
from tests.integration.shop import write_shop

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("fulcrum", "features", "models", "serving", "pipelines")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NEIGHBOUR = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "neighbour"
version = "1.0"

[tool.setuptools]
packages = ["models", "features", "shop_parts"]

[project.entry-points."fulcrum.trunks"]
ours = "shop_parts.trunks:OursConfig"

[project.entry-points."fulcrum.kinds"]
ours = "shop_parts.kinds:OursConfig"
"""
PARTS = {
    "trunks": ("architecture", "fulcrum.models.trunks.mmoe", "MMoEConfig"),
    "kinds": ("kind", "fulcrum.features.kinds.numeric", "NumericConfig"),
}
"""Modules of the neighbour: the key and the class of ours that a part of its own stands on."""


def run(*command: object, cwd: Path) -> str:
    """What a command prints; one that fails is an error with its output."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, into: Path) -> Path:
    """The wheel of a source tree, which setuptools leaves its build folders in."""
    options = ("--no-deps", "--no-build-isolation", "-q", "-w", into)
    run(sys.executable, "-m", "pip", "wheel", source, *options, cwd=into.parent)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Fulcrum's wheel, built from a copy."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, source / room, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return build(source, folder / "dist")


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment that holds the wheel and a neighbour that owns `models` and
    `features`, and brings a trunk and a kind of feature; all else it borrows from this one. The
    borrowed folders come by their paths, so that their own .pth files, an editable install of
    Fulcrum among them, are not read."""
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    for package in ("models", "features"):
        (source / package).mkdir(parents=True)
        (source / package / "__init__.py").write_text(f"OWNER = 'the {package} of a neighbour'\n")
    (source / "shop_parts").mkdir()
    (source / "shop_parts" / "__init__.py").touch()
    for name, (key, module, base) in PARTS.items():
        (source / "shop_parts" / f"{name}.py").write_text(
            f"from typing import Literal\n\nfrom {module} import {base}\n\n\n"
            f"class OursConfig({base}):\n    {key}: Literal['ours'] = 'ours'\n"
        )
    (source / "pyproject.toml").write_text(NEIGHBOUR)
    neighbour = build(source, folder / "dist")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    options = ("install", "--no-deps", "--no-index", "--ignore-installed", "-q")
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, *options, wheel, neighbour, cwd=folder)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "zz_borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return python


def test_it_holds_every_package_and_file(wheel: Path) -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = {
        f"{package.replace('.', '/')}/{name}"
        for package in setuptools["packages"]
        for name in ("__init__.py", *setuptools["package-data"].get(package, ()))
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fulcrum"}


def test_it_lives_beside_packages_of_the_same_names(python: Path, tmp_path: Path) -> None:
    code = (
        "import features, models, fulcrum.features.config, fulcrum.models.trunks as trunks;"
        "print(models.OWNER, features.OWNER, trunks.__file__, sep='\\n')"
    )
    ours, theirs, file = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert (ours, theirs) == ("the models of a neighbour", "the features of a neighbour")
    assert Path(file).is_relative_to(python.parent.parent)


def test_it_trains_parts_of_the_neighbour_in_a_folder_that_has_models_of_its_own(
    python: Path, tmp_path: Path
) -> None:
    write_shop(tmp_path)
    for name in ("models", "features"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not the one you want')\n")
    config = tmp_path / "shop.yaml"
    text = config.read_text().replace("architecture: mmoe", "architecture: ours")
    config.write_text(text.replace("speed: {kind: numeric}", "speed: {kind: ours}"))
    command = python.parent / "fulcrum"
    run(command, "train", "shop.yaml", "--set", "train.epochs=1", cwd=tmp_path)

    bundle = next(tmp_path.rglob("bundle.json")).parent
    assert json.loads((bundle / "bundle.json").read_text())["plugins"] == ["neighbour==1.0"]
    with sqlite3.connect(tmp_path / "mlruns.db") as store:
        tags = store.execute("SELECT value FROM tags WHERE key = 'fulcrum.plugins'").fetchall()
    assert ("neighbour==1.0",) in tags
    with pytest.raises(StateError, match=r"feature `speed` is of kind `ours`.*neighbour==1\.0"):
        Bundle.load(bundle)
