"""Commands of benchmarks that pages and Makefile show: the module, its parts and options exist.

They take minutes each; what they run is tested at sizes that take seconds."""

import inspect
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import serving
from benchmarks.__main__ import PARTS

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"python -m (benchmarks[\w.]*)([^`#\n]*)")
FILES = [ROOT / "Makefile", *ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted({command for file in FILES for command in COMMAND.findall(file.read_text())})


@pytest.mark.parametrize("module", sorted({module for module, _ in COMMANDS}))
def test_modules_exist(module):
    assert find_spec(module) is not None
    assert module != "benchmarks" or find_spec("benchmarks.__main__")


def test_parts_exist():
    named = {part for module, rest in COMMANDS if module == "benchmarks" for part in rest.split()}
    assert {"peers"} < named <= PARTS.keys()


def test_every_part_is_on_the_page():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert [part for part in PARTS if f"| `{part}` |" not in page] == []


def test_options_of_the_load_exist():
    rests = [shlex.split(rest) for module, rest in COMMANDS if module == "benchmarks.serving"]
    options = {
        word
        for rest in rests
        for word in rest[: rest.index("--") if "--" in rest else None]
        if word.startswith("--")
    }
    parameters = inspect.signature(serving.main).parameters
    assert options == {f"--{name}" for name in parameters if name != "more"}
