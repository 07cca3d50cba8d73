"""Fulcrum's wheel in a fresh environment, beside packages that bear the names of our folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("fulcrum", "features", "models", "serving", "pipelines")
PIP = (sys.executable, "-m", "pip")
INSTALL = ("install", "--no-deps", "--no-index", "--no-build-isolation", "-q")


def run(*command: object, cwd: Path, **variables: object) -> str:
    """What a command prints; one that fails is an error with its output."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Fulcrum's wheel, built from a copy, which setuptools leaves its build folders in."""
    source = folder / "source"
    source.mkdir()
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, source / room, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-build-isolation", "-q", "-w", folder / "dist")
    run(*PIP, "wheel", source, *options, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of an environment that holds the wheel, and `models` and `features` of
    somebody else; all else it borrows from this one. The borrowed folders come by their paths, so
    that their own .pth files, an editable install of Fulcrum among them, are not read."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin/python"
    run(*PIP, "--python", python, *INSTALL, "--ignore-installed", wheel, cwd=folder)
    (site,) = (folder / "lib").glob("python*/site-packages")
    for package in ("models", "features"):
        (site / package).mkdir()
        (site / package / "__init__.py").write_text(f"OWNER = 'the {package} of a neighbour'\n")
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "zz_borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return python
