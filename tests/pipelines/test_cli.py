"""The command line as a user meets it: a process, its output and its exit code."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.__main__ import AB_COMMANDS, COMMANDS, main
from fulcrum.pipelines.console import terminal

ROOT = Path(__file__).parents[2]
VERBS = ["prepare", "train", "evaluate", "baseline", "compare", "group", "register", "promote"]
VERBS += ["score", "serve", "show", "schema", "models", "weightings", "ui", "doctor"]
AB_VERBS = ["simulate", "designs", "power", "analyze"]
SMALL = """\
name: small
data:
  events: nowhere/*.parquet
  time: {column: t}
features:
  user_id: {kind: categorical}
tasks:
  click: {kind: binary, label: click}
"""


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def fulcrum(monkeypatch, capsys):
    """Runs a command in this process; `test_as_a_process` shows that it is the same in its own."""

    def run(*arguments) -> Done:
        monkeypatch.setattr(sys, "argv", ["fulcrum", *map(str, arguments)])
        monkeypatch.setattr(terminal, "results", Console(width=200))
        monkeypatch.setattr(terminal, "messages", Console(stderr=True))
        try:
            main()
        except SystemExit as stop:
            return Done(int(stop.code or 0), *capsys.readouterr())
        raise AssertionError("main always exits")

    return run


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path / "small.yaml"


def test_the_verbs_are_these():
    """A new verb is a decision: it goes into the docs, and into this list."""
    assert [command.__name__ for group in COMMANDS.values() for command in group] == VERBS
    assert [command.__name__ for command in AB_COMMANDS] == AB_VERBS


def process(*arguments: str) -> Done:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    return Done(done.returncode, done.stdout, done.stderr)


def test_as_a_process():
    began = time.monotonic()
    done = process("-m", "fulcrum", "--help")
    assert time.monotonic() - began < 10  # under a second when the machine is idle
    assert done.returncode == 0
    assert all(f" {verb} " in done.stdout for verb in VERBS)
    wrong = process("-m", "fulcrum", "show", "no/such.yaml")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "no/such.yaml: no such file\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(fulcrum, verb):
    done = fulcrum(verb, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize("verb", AB_VERBS)
def test_every_verb_of_tests_explains_itself(fulcrum, verb):
    done = fulcrum("ab", verb, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_starting_up_imports_nothing_heavy():
    code = "import sys, fulcrum.pipelines.__main__; print(*sys.modules)"
    done = process("-c", code)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "polars", "mlflow", "pandas", "onnx", "matplotlib", "pydantic"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_config_is_checked_without_what_only_work_needs():
    code = (
        "import sys; from fulcrum.pipelines.config.load import load;"
        "load('configs/kuairand/mmoe.yaml', ['weighting=upgrad']); print(*sys.modules)"
    )
    done = process("-c", code)
    assert done.returncode == 0, done.stderr
    needed = {"fulcrum", "pydantic", "yaml", "polars"}
    heavy = {"torchrec", "fbgemm_gpu", "tensordict", "torchjd", "clarabel", "quadprog"}
    heavy |= {"mlflow", "onnx", "onnxruntime", "pyarrow", "scipy", "sklearn", "matplotlib"}
    imported = set(done.stdout.split())
    assert needed <= imported
    assert heavy & imported == set()


def test_show_prints_yaml_that_loads_to_the_same(fulcrum, tmp_path):
    shown = fulcrum("show", "configs/kuairand/mmoe.yaml", "--set", "train.epochs=3")
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["train"]["epochs"] == 3
    (tmp_path / "again.yaml").write_text(shown.stdout)
    again = fulcrum("show", tmp_path / "again.yaml")
    assert again.stdout == shown.stdout
    assert "# fingerprint: " in shown.stdout


@pytest.mark.parametrize(
    ("kind", "key"), [("run", "tasks"), ("experiment", "arms"), ("world", "world")]
)
def test_schema_is_json(fulcrum, kind, key):
    assert {"extends", key} <= json.loads(fulcrum("schema", kind).stdout)["properties"].keys()


@pytest.mark.parametrize(
    ("verb", "member"), [("models", "mmoe"), ("models", "Caruana"), ("weightings", "static")]
)
def test_families_are_listed(fulcrum, verb, member):
    assert member in fulcrum(verb).stdout


@pytest.mark.parametrize("verb", ["show", "prepare", "train"])
def test_a_wrong_config_is_told_before_data_are_touched(fulcrum, small, verb):
    kinds = ", ".join(f"`{kind}`" for kind in TASKS)
    done = fulcrum(verb, small, "--set", "train.epoch=3", "--set", "tasks.click.kind=binry")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "2 problems in the configuration",
        "  --set train.epoch=3: train.epoch: unknown key `epoch`; did you mean `epochs`?",
        f"  --set tasks.click.kind=binry: tasks.click.kind: is 'binry'; expected one of {kinds}; "
        "did you mean `binary`?",
    ]
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "no/such.yaml"],
        ["prepare", "small.yaml"],
        ["train", "small.yaml"],
        ["train", "--resume", "nobody"],
        ["evaluate", "nobody"],
        ["compare", "small.yaml"],
        ["compare", "small.yaml", "small.yaml"],
        ["group", "small.yaml"],
        ["register", "nobody"],
        ["promote", "nobody"],
        ["score", "--model", "models:/nobody@champion", "--input", "x", "--output", "y"],
        ["score", "--model", "no/folder", "--input", "x", "--output", "y"],
        ["score", "--model", "m", "--input", "x", "--output", "y", "--shard", "0/2"],
        ["serve", "--model", "models:/nobody/1"],
        ["serve"],
        ["serve", "--model", "models:/nobody/1", "--experiment", "no/such.yaml"],
        ["serve", "--model", "models:/nobody/1", "--log", "logs"],
        ["serve", "--experiment", "no/such.yaml"],
        ["serve", "--experiment", "no/such.yaml", "--log", "logs"],
        ["ab", "simulate", "no/such.yaml"],
        ["ab", "designs", "small.yaml"],
        ["ab", "analyze", "nowhere", "--experiment", "no/such.yaml"],
        ["ui", "--tracking", "http://127.0.0.1:1"],
    ],
    ids=" ".join,
)
def test_what_the_user_can_put_right_is_one_message_and_code_2(
    fulcrum, small, arguments, monkeypatch
):
    monkeypatch.chdir(small.parent)
    done = fulcrum(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "small.yaml", "--resume", "x"],
        ["train", "--resume", "x", "--set", "a=1"],
        ["train", "small.yaml", "--nproc", "0"],
        ["score", "--model", "m", "--input", "x", "--output", "y", "--device", "tpu"],
        ["serve", "--model", "m", "--port", "0"],
        ["evaluate", "x", "--split", "holdout"],
        ["compare"],
        ["compare", "small.yaml", "--seeds", "0"],
        ["group", "small.yaml", "--groups", "0"],
        ["nothing"],
        ["show", "small.yaml", "--sett", "x=1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused_with_code_2(fulcrum, small, arguments, monkeypatch):
    monkeypatch.chdir(small.parent)
    done = fulcrum(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_no_traceback(number):
    code = (
        "import os, signal, sys, types; import fulcrum.pipelines.__main__ as m;"
        "name = 'fulcrum.pipelines.config.load'; load = sys.modules[name] = types.ModuleType(name);"
        f"load.schema = lambda kind: os.kill(os.getpid(), {int(number)});"
        "sys.argv = ['fulcrum', 'schema']; m.main()"
    )
    done = process("-c", code)
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr
