"""A trunk and a kind of feature from a file beside the config, down to scored rows."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from fulcrum.pipelines.config.load import load
from fulcrum.pipelines.runs import run as runs
from fulcrum.pipelines.runs.run import Options, start
from fulcrum.pipelines.tracking.mlflow import client, find_run
from tests.integration.shop import make_events

STORE = "sqlite:///mlruns.db"
PARTS = """\
from typing import ClassVar, Literal

import polars as pl
from torch import nn

from fulcrum.features.kinds.base import FeatureKind, Read
from fulcrum.features.layout import DenseInput
from fulcrum.models.trunks.base import Trunk, TrunkConfig


class RootConfig(FeatureKind):
    kind: Literal["root"] = "root"
    power: float = 0.5

    def reads(self, name, features):
        return [Read((), name)]

    def inputs(self, name, learned, features):
        return [DenseInput(name=name)]

    def steps(self, name, learned, lookups, schema):
        root = pl.col(name).abs() ** self.power
        return [root.fill_null(0.0).cast(pl.Float32).alias(name)]

    def missing(self, name, schema):
        return pl.col(name).is_null()


class LinearConfig(TrunkConfig):
    architecture: Literal["linear"] = "linear"
    width: int = 4

    @property
    def path(self):
        return (self.width,)

    def build(self, fields, tasks):
        return Linear(self, len(fields), len(tasks))


class Linear(Trunk):
    def __init__(self, config, fields, tasks):
        super().__init__()
        self.width, self.tasks = config.width, tasks
        self.map = nn.Linear(fields * config.embedding_dim, config.width)

    def forward(self, fields):
        return self.map(fields.flatten(1))[:, None].expand(-1, self.tasks, -1)

    def diagnostics(self, fields):
        return []
"""
YAML = """\
name: beside
data:
  events: events.parquet
  time: {column: at, unit: s}
  outcomes: [clicked, paid, verdict]
  keys: [row]
features: {item: categorical, speed: {kind: shop_beside:RootConfig, power: 0.25}}
tasks: {click: {kind: binary, label: clicked}}
model: {architecture: shop_beside:LinearConfig, embedding_dim: 4, tower: [4], width: 6}
train: {epochs: 1, batch_size: 64, precision: fp32}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with `shop_beside.py` beside `beside.yaml`."""
    make_events().write_parquet(tmp_path / "events.parquet")
    (tmp_path / "beside.yaml").write_text(YAML)
    (tmp_path / "shop_beside.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def anew(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which also sees the distributions in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "fulcrum", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_keeps_the_file_and_a_server_wants_it_installed(folder, fulcrum, monkeypatch):
    monkeypatch.setattr(runs, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(load("beside.yaml"), Options(1, False, Console(quiet=True)))
    run = find_run(STORE, "beside")
    assert "shop_beside.py" in {f.path for f in client(STORE).list_artifacts(run.id)}
    (folder / "shop_beside.py").write_text("raise NotImplementedError('edited since')\n")

    resumed = anew("train", "--resume", "beside")
    assert resumed.returncode == 0, resumed.stderr
    assert "registered as models:/beside/1" in resumed.stdout

    bundle = str(run.folder / "bundle")
    score = ("score", "--model", bundle, "--input", "events.parquet", "--output")
    here = fulcrum(*score, "here")
    assert here.code == 0, here.stderr
    refused = anew(*score, "refused")
    assert refused.returncode == 2
    assert "feature `speed`: `shop_beside:RootConfig` is imported only" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1

    info = folder / "site" / "shop_beside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-beside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fulcrum.kinds]\nroot = shop_beside:RootConfig\n")
    (folder / "shop_beside.py").unlink()
    (folder / "site" / "shop_beside.py").write_text(PARTS)
    installed = anew(*score, "installed", path=str(folder / "site"))
    assert installed.returncode == 0, installed.stderr
    assert_frame_equal(
        *(pl.read_parquet(f"{name}/events.parquet") for name in ("here", "installed"))
    )


@pytest.mark.slow
def test_two_processes_read_it_too(folder, fulcrum):
    done = fulcrum("train", "beside.yaml", "--nproc", "2")
    assert done.code == 0, done.stderr
    assert "registered as models:/beside/1" in done.stdout
