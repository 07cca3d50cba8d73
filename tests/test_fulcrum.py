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


class Thing:
    """What nobody expects."""


NOTHING = (None, 3, b"small", [], {}, Thing())


@pytest.mark.parametrize(
    ("call", "wrong", "message"),
    [
        (fulcrum.load_config, (*NOTHING,), "expected the path of a YAML file"),
        (fulcrum.load_config, ("", ".", "a\0b", "x" * 5_000), "cannot be read|no such file"),
        (fulcrum.load_config, ("nowhere.yaml", Path("nowhere.yaml")), "no such file"),
        (
            lambda value: fulcrum.load_config("small.yaml", value),
            (None, 3, "train.epochs=1", [3], [b"x=1"], {"train.epochs": 1}, Thing()),
            "expected overrides as a list of texts",
        ),
        (fulcrum.prepare, (*NOTHING, "small.yaml", Path("small.yaml")), "expected a config, as"),
        (fulcrum.train, (*NOTHING, "small.yaml", Path("small.yaml")), "expected a config, as"),
        (fulcrum.evaluate, (*NOTHING, Path("small")), "expected the id or name of a run"),
        (fulcrum.evaluate, ("", "nowhere", "a\0b"), "no run "),
        (
            lambda value: fulcrum.evaluate("small", value),
            (*NOTHING, "tset", ""),
            "expected the split `train`, `valid` or `test`",
        ),
        (
            lambda value: fulcrum.evaluate("small", tracking=value),
            (*NOTHING, Path("store.db")),
            "expected the URI of an MLflow store",
        ),
        (fulcrum.open_model, NOTHING, "expected the URI of a model"),
        (fulcrum.open_model, ("nowhere", Path("nowhere"), "a\0b"), "no such folder"),
        (fulcrum.open_model, ("x" * 5_000,), "File name too long"),
        (fulcrum.open_model, ("models:/", "models:/x", "models:/x@", "models:/@y"), "expected mod"),
        (
            lambda value: fulcrum.open_model("models:/x/1", device=value),
            (*NOTHING, "gpu", "CPU"),
            "expected the device `auto`, `cpu` or `cuda`",
        ),
        (
            lambda value: fulcrum.open_model("models:/x/1", tracking=value),
            (*NOTHING, Path("store.db")),
            "expected the URI of an MLflow store",
        ),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(folder, monkeypatch, call, wrong, message):
    monkeypatch.chdir(folder)
    for value in wrong:
        with pytest.raises(fulcrum.FulcrumError, match=message) as error:
            call(value)
        assert "\n" not in str(error.value)


def test_nproc_is_a_number_of_processes(folder):
    config = fulcrum.load_config(folder / "small.yaml")
    for nproc in (None, "2", 1.5, 0, -1):
        with pytest.raises(fulcrum.FulcrumError, match="expected nproc of 1 or more"):
            fulcrum.train(config, nproc=nproc)
