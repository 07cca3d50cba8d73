"""Tasks into groups by how their gradients agreed in one training, and a config for each group.

The training is that of the config with equal static weights, an ordinary run below the grouping's
own; a finished one is taken as it is and a stopped one goes on. What the grouping leaves lies in
`<workspace>/runs/<run id>`: `affinity.csv`, `affinity.svg`, and the configs unless another folder
is named for them.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from fulcrum.features.errors import ConfigError
from fulcrum.models.chains import ESMMConfig
from fulcrum.models.trunks.home import HoMEConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.pipelines.comparison import affinity
from fulcrum.pipelines.comparison.affinity import Grouping
from fulcrum.pipelines.comparison.contenders import equal_weights
from fulcrum.pipelines.comparison.runs import finished
from fulcrum.pipelines.config.load import fingerprint, load
from fulcrum.pipelines.config.rules import metric_names
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.config.yaml_text import dump
from fulcrum.pipelines.figures import run as run_figures
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.tracking.mlflow import (
    CONFIG,
    DATA,
    FOLDER,
    FoundRun,
    MlflowTracker,
    find_tagged,
    start_run,
)
from fulcrum.pipelines.training.trainer import read_result


def group(config: RunConfig, count: int | None, console: Console) -> Grouping:
    """Train the config with equal static weights, or find that training, and group its tasks.

    Raises ConfigError when there is nothing to group or no cosine to do it by.
    """
    tasks = tuple(config.tasks)
    _check(config, count)
    equal = equal_weights(config)
    dataset = prepare_dataset(equal, console)
    parent = _parent(equal, dataset.fingerprint)
    uri = equal.tracking.uri
    with MlflowTracker(uri, parent.id) as tracker:
        run, _ = finished(equal, dataset, parent.id, console)
        matrix = affinity.mean_cosines(tasks, read_result(run.folder / "checkpoints").course)
        pairs = ~np.eye(len(tasks), dtype=bool)
        if np.isnan(matrix[pairs]).all():
            raise ConfigError(
                f"run {run.name} ({run.id}) has no cosines of task gradients: it was made before "
                "they were kept. Train it anew, for example with `--set train.seed=1`"
            )
        grouping = Grouping(tasks, matrix, affinity.join(matrix, count), parent.folder)
        picture = run_figures.affinity(tasks, matrix, grouping.groups)
        tracker.log_artifact(run_figures.save(picture, parent.folder / "affinity.svg"), "figures")
        table = parent.folder / "affinity.csv"
        pl.DataFrame({"task": tasks, **dict(zip(tasks, matrix, strict=True))}).write_csv(table)
        tracker.log_artifact(table)
    return grouping


def write_groups(grouping: Grouping, config: RunConfig, parent: Path, folder: Path) -> list[Path]:
    """A config `group-1.yaml` for each group, which extends `parent` and keeps its tasks only.

    Raises ConfigError with the file's problems when what it inherits does not fit its tasks; the
    file stays, to be put right by hand.
    """
    return [
        _write(folder / f"group-{number}.yaml", parent, only(config, members, number))
        for number, members in enumerate(grouping.names, 1)
    ]


def write_home(grouping: Grouping, config: RunConfig, parent: Path, file: Path) -> Path:
    """A config that extends `parent` with HoME for a network, each group a category of tasks."""
    old = config.model.categories if isinstance(config.model, HoMEConfig) else {}
    categories = dict.fromkeys(old) | {
        f"group_{number}": members for number, members in enumerate(grouping.names, 1)
    }
    model = {"architecture": "home", "categories": categories}
    return _write(file, parent, {"name": f"{config.name}-home-groups", "model": model})


def only(config: RunConfig, members: Collection[str], number: int) -> dict[str, Any]:
    """What a config must say over its parent to keep these tasks only: `null` for the others, and
    for what the parent says of them."""
    lost = [task for task in config.tasks if task not in members]
    unchained = {task: {"given": None} for task in orphans(config, members)}
    document: dict[str, Any] = {
        "name": f"{config.name}-group-{number}",
        "tasks": dict.fromkeys(lost) | unchained,
    }
    chained = [t for t in members if getattr(config.tasks[t], "given", None) in members]
    if not chained and config.model.chain != ESMMConfig():
        document["model"] = {"chain": {"kind": "esmm"}}
    if isinstance(config.model, HoMEConfig) and config.model.categories:
        remaining = {
            c: [t for t in of if t in members] for c, of in config.model.categories.items()
        }
        categories = {"categories": {c: of or None for c, of in remaining.items()}}
        document["model"] = document.get("model", {}) | categories
    weights = {
        name: dict.fromkeys(gone)
        for name, value in config.weighting
        if isinstance(value, dict) and (gone := [task for task in lost if task in value])
    }
    if weights:
        document["weighting"] = weights
    train = _train(config, members, lost)
    if train:
        document["train"] = train
    return document


def orphans(config: RunConfig, members: Collection[str]) -> list[str]:
    """Tasks of a group whose chain is cut: they are `given` a task of another group. Their label
    is that of the whole chain, so they are predicted as well without it."""
    conditions = {task: getattr(config.tasks[task], "given", None) for task in members}
    return [
        task for task, first in conditions.items() if first is not None and first not in members
    ]


def _train(config: RunConfig, members: Collection[str], lost: Sequence[str]) -> dict[str, Any]:
    """Of early stopping by a metric that is gone, and of tasks learned first."""
    section: dict[str, Any] = {}
    stopping, first = config.train.early_stopping, config.train.pretrain
    tasks = {task: config.tasks[task] for task in members}
    names = metric_names(config.model_copy(update={"tasks": tasks}))
    if stopping is not None and stopping.metric not in names:
        section["early_stopping"] = {"metric": "loss"}
    if first is not None and set(first.tasks) & set(lost):
        remaining = [task for task in first.tasks if task in members]
        section["pretrain"] = {"tasks": remaining} if remaining else None
    return section


def _write(file: Path, parent: Path, document: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    up = os.path.relpath(parent.resolve(), file.parent.resolve())
    file.write_text(dump({"extends": Path(up).as_posix(), **document}), encoding="utf-8")
    load(file)
    return file


def _check(config: RunConfig, count: int | None) -> None:
    number = len(config.tasks)
    if number < 2:
        raise ConfigError("tasks: there is one task, and nothing to group; declare another")
    if count is not None and count > number:
        raise ConfigError(f"--groups {count}: there are {number} tasks; ask for fewer groups")
    if isinstance(config.model, SingleTaskConfig):
        raise ConfigError(
            "model.architecture: the tasks of `single_task` share nothing, so their gradients "
            "never meet; take a network that shares, such as `shared_bottom`"
        )
    if "valid" not in config.data.split.names:
        raise ConfigError(
            "data.split: there is no validation split, and gradients are compared where it is "
            "measured; keep some rows for it"
        )


def _parent(config: RunConfig, data: str) -> FoundRun:
    """The grouping's run: the one that looked at the same training before, if there is one."""
    uri, digest = config.tracking.uri, f"group {fingerprint(config)}"
    tags = {CONFIG: digest, DATA: data}
    if not find_tagged(uri, tags):
        run = start_run(uri, config.tracking.experiment, "group")
        folder = Path(config.workspace, "runs", run)
        folder.mkdir(parents=True)
        MlflowTracker(uri, run).log_tags({**tags, FOLDER: folder.resolve()})
    return find_tagged(uri, tags)[0]
