"""The config of an earlier run, and the plugins that it needs."""

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from fulcrum.features.errors import ConfigError
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.run import Options, measure_run, take_up
from fulcrum.pipelines.tracking.mlflow import FoundRun
from tests.pipelines.runs.test_run import YAML

CONSOLE = Console(quiet=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(YAML.format(folder=tmp_path))
    return tmp_path


def run(folder: Path, *plugins: str) -> FoundRun:
    return FoundRun("0" * 32, "small", folder, True, "", plugins)


@pytest.mark.parametrize(
    "go_on",
    [
        kept_config,
        lambda run: measure_run(run, "test", CONSOLE),
        lambda run: take_up(run, "", Options(1, False, CONSOLE)),
    ],
)
def test_what_is_missing_is_told_before_the_config_is_read(folder: Path, go_on) -> None:
    (folder / "config.yaml").write_text("model: {architecture: film}")
    needs = "no-such-film==1.2", f"polars=={pl.__version__}", "no-such-trunk==3"
    with pytest.raises(ConfigError) as error:
        go_on(run(folder, *needs))
    assert "`pip install no-such-film==1.2 no-such-trunk==3`" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("version", "warnings"), [(pl.__version__, 0), ("0.1", 1)])
def test_another_version_is_told(folder: Path, caplog, version: str, warnings: int) -> None:
    assert kept_config(run(folder, f"polars=={version}")).name == "small"
    assert len(caplog.messages) == warnings
    assert all(f"polars==0.1; {pl.__version__} is installed" in m for m in caplog.messages)
