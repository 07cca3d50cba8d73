"""The wheel in a fresh environment, beside packages that bear the names of our folders."""

import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.integration.installed import ROOT, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


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
