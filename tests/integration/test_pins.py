"""The pinned sets: exact, listed whole, and never called safe without having been looked up."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def pins(*names: str) -> dict[str, str]:
    lines = [
        line
        for name in names
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    return {name: version for line in lines for name, version in [PIN.fullmatch(line).groups()]}


@pytest.mark.parametrize("name", sorted(p.stem for p in ROOT.glob("requirements/*.txt")))
def test_every_package_is_pinned_to_one_version(name):
    assert pins(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_pin_is_listed_and_an_unknown_one_is_no_safe_one(tmp_path):
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    make = ["make", "PLATFORM=cpu"]
    done = subprocess.run([*make, "sbom"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = json.loads((tmp_path / "sbom.json").read_text())["components"]
    expected = pins("base", "torchrec", "cpu", "dev")
    assert {one["name"]: one["version"] for one in listed} == expected

    for file in (tmp_path / "requirements").glob("*.txt"):
        if file.stem != "audit":
            file.write_text("")
    (tmp_path / "requirements" / "base.txt").write_text("fulcrum-has-no-such-package==1.0.0\n")
    done = subprocess.run([*make, "audit"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "fulcrum-has-no-such-package" in done.stderr
