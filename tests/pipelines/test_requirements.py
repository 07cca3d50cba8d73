"""The pinned sets: complete, of one mind, and what is installed here."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from fulcrum.pipelines.doctor import TRIPLE

ROOT = Path(__file__).parents[2]
VERBS = ["help", "setup", "train", "compare", "test", "test-slow", "lint", "bench"]
VERBS += ["bench-peers", "ab"]
VERBS += ["score", "serve", "ui", "docs", "gpu-check", "sbom", "audit", "doctor", "clean"]


def pins(name: str) -> dict[str, str]:
    """Package to version, with the files that a file includes."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            package, pinned = line.split("==")
            assert package not in found, f"{package} is pinned twice in {name}"
            found[package] = pinned
    return found


def test_both_platforms_pin_the_same_versions():
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert {p: v for p, v in cpu.items() if gpu.get(p, v) != v} == {}
    assert cpu.keys() - gpu.keys() == {"fbgemm-gpu-cpu", "onnxruntime"}
    assert gpu.keys() - cpu.keys() == {
        "fbgemm-gpu",
        "onnxruntime-gpu",
        "nvidia-ml-py",
        "torchrec",
    }


def test_the_triple_is_the_one_that_the_doctor_expects():
    assert {package: pins("gpu.txt")[package] for package in TRIPLE} == TRIPLE
    assert pins("cpu.txt")["fbgemm-gpu-cpu"] == TRIPLE["fbgemm-gpu"]


def test_everything_that_the_package_needs_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in project["dependencies"]}
    assert needed - pins("cpu.txt").keys() == set()


@pytest.mark.parametrize("name", ["base.txt", "dev.txt"])
def test_what_is_installed_here_is_what_is_pinned(name):
    different = {}
    for package, pinned in pins(name).items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            installed = "missing"
        if installed != pinned:
            different[package] = (installed, pinned)
    assert different == {}


def test_the_makefile_has_these_verbs():
    text = (ROOT / "Makefile").read_text()
    assert re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE) == VERBS
