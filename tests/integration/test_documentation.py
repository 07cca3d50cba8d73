"""Everything that the documentation shows is true: commands run, configs are valid, links lead."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
import yaml
from typer.core import TyperGroup

from fulcrum.features.import_path import beside
from fulcrum.features.kinds import KINDS
from fulcrum.features.tasks import TASKS
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.__main__ import app
from fulcrum.pipelines.ab.analysis.decision import EXIT, RULES
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.experiment import problems as problems_of_test
from fulcrum.pipelines.ab.simulation.config import Simulation
from fulcrum.pipelines.config.load import merge
from fulcrum.pipelines.config.rules import problems
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs import DESIGNS
from tests.integration.documentation import Block, blocks

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OWN_LOGS = ROOT / "docs" / "own-logs.md"
NOTEBOOK = ROOT / "docs" / "notebooks.md"
PART = 4
"""Of how many users, or rows where there are none, one is read."""

AROUND = """\
name: example
data:
  events: events.parquet
  time: {column: at}
features:
  user_id: {kind: categorical}
tasks:
  click: {kind: binary, label: clicked}
"""
"""What a fragment of a config leaves out."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def running() -> list[Path]:
    return [
        page for page in PAGES if page != OWN_LOGS and any(block.commands for block in blocks(page))
    ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's configs, and its data with a part of each log's rows: commands show the same
    on fewer."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(ROOT / "data", folder / "data")
    for log in (folder / "data").rglob("*.parquet"):
        rows = pl.read_parquet(log)
        if "user_id" in rows.columns and log.name != "user_features_pure.parquet":
            rows.filter(pl.col("user_id") % PART == 0).write_parquet(log)
        elif log.name == "census_income_test.parquet":
            rows.gather_every(PART).write_parquet(log)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", running(), ids=name)
def test_commands_run(page: Path, shared: Path, tmp_path: Path) -> None:
    read_as_a_user(page, shared, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_new_user_gets_a_model_and_scores(shared: Path, tmp_path: Path) -> None:
    """The page promises a model that has learned something, not only commands that end well."""
    read_as_a_user(OWN_LOGS, shared, tmp_path)
    [results] = tmp_path.glob(".fulcrum/runs/*/results.json")
    metrics = json.loads(results.read_text())["metrics"]
    assert metrics["shop"]["grouped_auc/click"] > 0.7
    assert metrics["shop"]["auc/buy"] > 0.65
    assert metrics["shop"]["rmse/spend"] < metrics["constant"]["rmse/spend"]
    assert [file.name for file in (tmp_path / "scores").iterdir()] == ["events.parquet"]


def test_the_page_on_decisions_has_the_table_of_rules():
    rows = "\n".join(f"| {rule.when} | {rule.decision} |" for rule in RULES)
    assert rows in (ROOT / "docs" / "analyze.md").read_text()


def test_a_kept_share_is_corrected_as_the_page_says():
    clicks, others, share = 100, 9_900, 0.1
    score = clicks / (clicks + share * others)
    corrected = score / (score + (1 - score) / share)
    assert corrected == pytest.approx(clicks / (clicks + others))
    text = (ROOT / "docs" / "long-logs.md").read_text()
    assert f"says {score:.3f} on average; corrected, that is {corrected:.3f}" in text


@pytest.mark.slow
def test_a_notebook_runs_from_its_first_cell_to_its_last(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text("".join(b.text for b in blocks(NOTEBOOK)))
    for known in ("configs", "data"):
        (tmp_path / known).symlink_to(shared / known)
    cells = [sys.executable, "cells.py"]
    done = subprocess.run(cells, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "models:/census-mmoe/1" in done.stdout


def read_as_a_user(page: Path, shared: Path, folder: Path) -> None:
    """Write the page's files and run its commands, in order, in an empty folder that sees shared
    configs and data."""
    for known in ("configs", "data"):
        (folder / known).symlink_to(shared / known)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text)
        for command in block.commands:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            analyses = command.startswith("fulcrum ab analyze")
            answers = {*EXIT.values()} - {EXIT["broken"]} if analyses else {0}
            assert done.returncode in answers, (
                f"{name(page)}: {command}\n{done.stdout}\n{done.stderr}"
            )
            assert "Traceback" not in done.stderr


def fragments() -> list[Any]:
    return [
        pytest.param(page, block, id=f"{name(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
        if block.language == "yaml"
    ]


@pytest.mark.parametrize(("page", "block"), fragments())
def test_configs_are_valid(page: Path, block: Block, tmp_path: Path):
    text = yaml.safe_load(block.text)
    if "arms" in text:
        assert problems_of_test(Experiment.model_validate(text)) == []
        return
    if "world" in text:
        Simulation.model_validate(text)
        return
    for file in blocks(page):
        if file.language == "python" and file.title is not None:
            (tmp_path / file.title).write_text(file.text)
    with beside(tmp_path):
        config = RunConfig.model_validate(merge(RunConfig, yaml.safe_load(AROUND), text))
    assert problems(config) == []


def shown_commands() -> list[Any]:
    return [
        pytest.param(command, id=f"{name(page)}: {command}")
        for page in PAGES
        for block in blocks(page)
        for line in (block.commands or block.lines)
        if (command := line.strip()).split(" ")[:1] in (["fulcrum"], ["make"])
    ]


@pytest.mark.parametrize("command", shown_commands())
def test_commands_exist(command):
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
        return
    verb, *options = arguments
    known = typer.main.get_command(app).commands[verb]
    if isinstance(known, TyperGroup):
        verb, *options = options
        known = known.commands[verb]
    with known.make_context(verb, options):
        pass


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_the_text_names_exists(page):
    text = page.read_text()
    verbs = set(re.findall(r"`fulcrum (\w+)", text))
    assert verbs <= set(typer.main.get_command(app).commands)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"a link to {target}"
    for path in re.findall(
        r"`((?:fulcrum|features|models|pipelines|serving|tests|configs|docs)/[\w/.-]+)`", text
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("page", "family"),
    [("features.md", KINDS), ("tasks.md", TASKS), ("weighted_training.md", DESIGNS)],
)
def test_every_member_is_on_the_page_of_its_family(page, family):
    text = (ROOT / "docs" / page).read_text()
    assert [member for member in family if f"`{member}`" not in text] == []


def test_every_weighting_has_a_page():
    pages = {page.stem for page in (ROOT / "docs" / "weightings").glob("*.md")}
    assert WEIGHTINGS.keys() <= pages


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"^ *- ([\w/-]+\.md)$", text, re.MULTILINE)
    docs = ROOT / "docs"
    pages = {str(p.relative_to(docs)) for p in docs.rglob("*.md")}
    assert pages - set(listed) == set(), "add them to `nav` in mkdocs.yml"
    assert set(listed) - pages == set(), "take them from `nav` in mkdocs.yml"
    assert len(listed) == len(set(listed))
