"""The folder of an experiment's log: what lies where, whose it is, and that one process writes it.

`assignments/`, `exposures/` and `outcomes/` hold Parquet files that are never changed, `journal/`
the rows that are not in Parquet yet, `experiment.json` what the log is of. A journal and the
Parquet files made of it have one number.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.features.staging import full_disk
from fulcrum.serving.experiments import columns
from fulcrum.serving.experiments.experiment import ExperimentConfig

EXPERIMENT, PARTIAL, LOCK, JOURNALS = "experiment.json", "experiment.partial", "lock", "journal"


def take(folder: Path, experiment: ExperimentConfig) -> int:
    """Make the folder or see that it is of this experiment, whose `traffic` may have changed; gives
    the file that holds it for this process until it is closed.

    Raises ResourceError when another process holds it, StateError when it is of something else."""
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _hold(folder)
    try:
        _check_experiment(folder, experiment)
    except BaseException:
        os.close(lock)
        raise
    for name in (*columns.TABLES, JOURNALS):
        (folder / name).mkdir(exist_ok=True)
    for unfinished in folder.glob("*/*.partial"):
        unfinished.unlink()
    return lock


def numbered(folder: Path) -> dict[int, Path]:
    """Files by their number, in order."""
    files = [path for path in folder.glob("*") if path.stem.isdigit() and path.suffix != ".partial"]
    return {int(path.stem): path for path in sorted(files)}


def write(rows: pl.DataFrame, path: Path) -> None:
    """A Parquet file that is on the disk, whole, when it has its name."""
    partial = path.with_suffix(".partial")
    with full_disk(path):
        rows.write_parquet(partial)
        _sync(partial)
        partial.rename(path)
        _sync(path.parent)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _hold(folder: Path) -> int:
    """A lock that lasts as long as the process."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise ResourceError(f"{folder}: another service is writing this log") from None
    return file


def _check_folder(folder: Path) -> None:
    """Nothing of somebody else's is there."""
    if folder.is_dir() and not (folder / EXPERIMENT).exists():
        others = {entry.name for entry in folder.iterdir()} - {LOCK, PARTIAL}
        if others:
            raise StateError(f"{folder}: no log of an experiment, but holds {min(others)}")


def _check_experiment(folder: Path, experiment: ExperimentConfig) -> None:
    """Write what the log is of, or see that it is the same; `traffic` may have changed."""
    now = ExperimentConfig.model_validate(
        {name: getattr(experiment, name) for name in ExperimentConfig.model_fields}
    ).model_dump(mode="json")
    path, partial = folder / EXPERIMENT, folder / PARTIAL
    if path.exists():
        before = experiment_of(folder)
        for place, old, new in _differences(before, now):
            if place != "traffic":
                raise StateError(
                    f"{folder}: is the log of another experiment: `{place}` was {json.dumps(old)}, "
                    f"now {json.dumps(new)}. Take a new folder; only `traffic` may change in one"
                )
    partial.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    _sync(partial)
    partial.rename(path)
    _sync(folder)


def experiment_of(folder: Path) -> dict[str, Any]:
    """What the log is of. Raises StateError when the folder is no log or damaged."""
    path = folder / EXPERIMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return ExperimentConfig.model_validate(document).model_dump(mode="json")
    except FileNotFoundError:
        raise StateError(f"{folder}: no log of an experiment ({EXPERIMENT} is missing)") from None
    except ValueError as error:
        raise StateError(f"{path}: damaged ({error})") from error


def _differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Place, old and new value of everything that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inner = f"{place}.{name}" if place else name
            yield from _differences(before.get(name), now.get(name), inner)
    elif before != now:
        yield place, before, now
