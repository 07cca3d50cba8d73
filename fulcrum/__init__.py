"""Fulcrum: declarative multi-task recommenders, from logs to a served model.

What a notebook needs, in the order in which it needs it:

    config = fulcrum.load_config("shop.yaml", ["train.epochs=2"])
    dataset = fulcrum.prepare(config)
    outcome = fulcrum.train(config)
    outcome = fulcrum.evaluate("shop", split="valid")
    scores = fulcrum.open_model("models:/shop@candidate").score(rows, past)

Each does what the command of its name does, and shows its progress in the same way. Whatever a user
can put right is raised as FulcrumError. Importing this package loads nothing else: a function loads
what it needs when it is called.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fulcrum.features.errors import ConfigError, FulcrumError
from fulcrum.serving.publishing.store import STORE

if TYPE_CHECKING:
    from fulcrum.features.prepared.dataset import PreparedDataset
    from fulcrum.pipelines.config.run import RunConfig
    from fulcrum.pipelines.runs.run import Outcome
    from fulcrum.serving.scoring.scorer import Scorer

__all__ = ["FulcrumError", "evaluate", "load_config", "open_model", "prepare", "train"]

# MLflow reads these when it is imported: nothing is reported to its makers, a server that is down
# is told of after seconds instead of four minutes, and making a store says nothing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# So does OpenMP when torch is. Threads that spin while they wait hold up the others where cores
# are shared: on a machine with four times as many busy threads as cores, training took 40 times as
# long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> "RunConfig":
    """Read and check a run's YAML file; no data are read.

    Args:
        path: the file. Paths inside it are relative to the working directory.
        overrides: single values in place of the file's, such as `"train.epochs=3"`.

    Raises:
        FulcrumError: with every problem at once, each with its place, what was expected and the
            nearest right spelling.
    """
    texts = not isinstance(overrides, str) and isinstance(overrides, Sequence)
    _expect(isinstance(path, str | Path), "the path of a YAML file", path)
    _expect(
        texts and all(isinstance(text, str) for text in overrides),
        "overrides as a list of texts",
        overrides,
    )
    from fulcrum.pipelines.config.load import load

    return load(path, overrides)


def prepare(config: "RunConfig") -> "PreparedDataset":
    """Build the data set that training reads, or open the one that is there from the same config
    and files.

    Raises:
        FulcrumError: where the data are not what the config says.
    """
    _expect_config(config)
    from fulcrum.pipelines.console.terminal import messages
    from fulcrum.pipelines.runs.prepare import prepare_dataset

    return prepare_dataset(config, messages)


def train(config: "RunConfig", *, nproc: int = 1, reference: bool = False) -> "Outcome":
    """Train a model from logs to registry: prepare, train, measure, export, register as @candidate.

    Args:
        config: the run.
        nproc: processes that train together.
        reference: also train one network per task, to compare.

    Returns:
        Metrics by model and name (`outcome.metrics["shop"]["auc/click"]`), the health of the
        experts, and the registered model's URI (`outcome.model`).

    Raises:
        FulcrumError: where data, training or export cannot go on.
    """
    _expect_config(config)
    _expect(isinstance(nproc, int) and nproc >= 1, "nproc of 1 or more", nproc)
    from fulcrum.pipelines.console.terminal import messages
    from fulcrum.pipelines.runs.run import Options, start

    return start(config, Options(nproc, reference, messages))


def evaluate(
    run: str, split: Literal["train", "valid", "test"] = "test", *, tracking: str = STORE
) -> "Outcome":
    """Measure a run's best weights on a split, beside a constant predictor.

    Args:
        run: its id, or the name of one (then the newest).
        split: rows to measure on.
        tracking: MLflow store or server that holds the run.

    Raises:
        FulcrumError: where there is no such run, with the nearest names.
    """
    _expect(isinstance(run, str), "the id or name of a run", run)
    _expect(split in ("train", "valid", "test"), "the split `train`, `valid` or `test`", split)
    _expect(isinstance(tracking, str), "the URI of an MLflow store", tracking)
    from fulcrum.pipelines.console.terminal import messages
    from fulcrum.pipelines.runs.run import measure_run
    from fulcrum.pipelines.tracking.mlflow import find_run

    return measure_run(find_run(tracking, run), split, messages)


def open_model(
    uri: str | Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", tracking: str = STORE
) -> "Scorer":
    """Open a model for scoring: `.score(rows, past)` takes raw rows as a Polars frame, and past
    events as a lazy one where features look back. It gives the key columns and a column per score.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN/model` or a bundle's folder.
        device: `cuda` raises when CUDA does not work; `auto` takes the CPU then.
        tracking: MLflow store or server that holds the model.

    Raises:
        FulcrumError: where there is no such model, with the nearest names; where it is damaged.
    """
    _expect(isinstance(uri, str | Path), "the URI of a model", uri)
    _expect(device in ("auto", "cpu", "cuda"), "the device `auto`, `cpu` or `cuda`", device)
    _expect(isinstance(tracking, str), "the URI of an MLflow store", tracking)
    from fulcrum.serving.publishing.registry import Registry
    from fulcrum.serving.scoring.scorer import Scorer

    return Scorer(Registry(tracking).resolve(str(uri)).bundle, device)


def _expect_config(config: object) -> None:
    from fulcrum.pipelines.config.run import RunConfig

    _expect(isinstance(config, RunConfig), "a config, as fulcrum.load_config gives it", config)


def _expect(right: bool, what: str, value: object) -> None:
    """Raises ConfigError: a notebook is told of a wrong argument as the command line is."""
    if not right:
        raise ConfigError(f"expected {what}, got {value!r:.60}")
