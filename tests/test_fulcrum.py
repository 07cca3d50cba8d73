"""What a notebook imports: `import fulcrum`."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import fulcrum
from tests.pipelines.runs.test_run import YAML, write_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("face")
    write_log(folder / "log.parquet", rows=400)
    (folder / "small.yaml").write_text(YAML.format(folder=folder))
    return folder


def test_importing_it_loads_nothing_else():
    code = "import sys, fulcrum; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    packages = {"fulcrum", "fulcrum.features", "fulcrum.serving", "fulcrum.serving.publishing"}
    ours = {name for name in loaded if name.startswith("fulcrum")} - packages
    assert ours == {"fulcrum.features.errors", "fulcrum.serving.publishing.store"}
    assert loaded.isdisjoint({"torch", "polars", "numpy", "mlflow", "pydantic", "typer", "rich"})


def test_its_names_are_there_and_explained():
    for name in fulcrum.__all__:
        assert getattr(fulcrum, name).__doc__


def test_from_a_config_to_scores(folder: Path):
    store = f"sqlite:///{folder}/store.db"
    config = fulcrum.load_config(folder / "small.yaml", ["train.epochs=1"])
    assert config.train.epochs == 1
    dataset = fulcrum.prepare(config)
    assert sum(dataset.rows(split) for split in ("train", "valid", "test")) == 400
    outcome = fulcrum.train(config)
    assert outcome.model == "models:/small/1"
    again = fulcrum.evaluate("small", tracking=store)
    assert again.metrics == outcome.metrics
    rows = pl.read_parquet(folder / "log.parquet")
    model = fulcrum.open_model("models:/small@candidate", device="cpu", tracking=store)
    scores = model.score(rows.drop("click", "watch"), rows.lazy())
    assert scores.columns == ["row", "click", "watch"]
    assert scores["row"].equals(rows["row"])
    assert scores["click"].is_between(0, 1).all()


def test_what_a_user_can_put_right_is_one_kind_of_error(folder: Path):
    nowhere = f"sqlite:///{folder}/nowhere.db"
    with pytest.raises(fulcrum.FulcrumError, match="did you mean `epochs`"):
        fulcrum.load_config(folder / "small.yaml", ["train.epoch=1"])
    with pytest.raises(fulcrum.FulcrumError, match="no run 'small'"):
        fulcrum.evaluate("small", tracking=nowhere)
    with pytest.raises(fulcrum.FulcrumError, match="there is no store"):
        fulcrum.open_model("models:/small@candidate", tracking=nowhere)
