"""Complete, sharded checkpoints that are there whole or not at all.

A checkpoint is a folder `step-<n>` beside the others of its run:

    *.distcp, .metadata   model and optimizers, one file a process (torch.distributed.checkpoint)
    state.json            step, reader position, early stopping, fingerprints, metric history
    random-<rank>.json    states of that process's random generators
    calibration.json      added when training is over, see `pipelines.calibration.kept`

It is written under a temporary name and renamed when every process has finished. Read only
checkpoints that you wrote: torch's metadata file is a pickle. What travels is the exported bundle.
"""

import base64
import json
import logging
import os
import random
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from fulcrum.features.errors import ResourceError, StateError
from fulcrum.pipelines.training.processes import Process

logger = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d+)")
SHORT_WRITE = re.compile(r"unexpected pos \d+ vs \d+")
"""All that torch says when its writer runs out of space."""
MISSING = re.compile(r"Missing key in checkpoint state_dict: (.+?)\.?$")
"""What it says of state that a checkpoint does not hold."""
MODEL = "model"


def save(
    folder: Path, step: int, parts: dict[str, Any], state: dict[str, Any], process: Process
) -> Path:
    """Write `step-<step>` of the run. Every process calls it.

    `parts` holds the state dicts of model (under `model`) and optimizers, `state` what JSON can
    say. Raises ResourceError when the disk refuses; what was there before stays as it was.
    """
    target, temporary = path(folder, step), folder / f".step-{step}.tmp"
    if process.main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    process.wait()
    try:
        dcp.save(parts, storage_writer=FileSystemWriter(temporary))
        _write(temporary / f"random-{process.rank}.json", random_state())
        if process.main:
            _write(temporary / "state.json", state)
    except (OSError, CheckpointException) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _interrupt_again(error)
        raise ResourceError(f"{target}: could not write the checkpoint: {_reason(error)}") from None
    process.wait()
    if process.main:
        os.replace(temporary, target)
    process.wait()
    return target


def load(checkpoint: Path, parts: dict[str, Any], process: Process) -> dict[str, Any]:
    """Fill the tensors of `parts` in place, set this process's random generators, give `state`.

    Raises StateError when the checkpoint is damaged or of other shapes.
    """
    _fill(checkpoint, parts)
    try:
        set_random_state(_read(checkpoint / f"random-{process.rank}.json"))
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"{checkpoint}: not a usable checkpoint: {error}") from None
    return read_state(checkpoint)


def load_model(checkpoint: Path, model: nn.Module) -> None:
    """Fill a model's weights in place, sharded in whatever way it is."""
    load_parts(checkpoint, {MODEL: model.state_dict()})


def load_parts(checkpoint: Path, parts: dict[str, Any]) -> None:
    """Fill the tensors of some parts in place, and nothing else."""
    _fill(checkpoint, parts)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What the checkpoint says of itself, without reading a tensor."""
    try:
        return _read(checkpoint / "state.json")
    except (OSError, ValueError) as error:
        raise StateError(f"{checkpoint}: not a usable checkpoint: {error}") from None


def best_step(state: Mapping[str, Any]) -> int:
    """Steps behind the best weights of a run whose latest checkpoint says this of itself; behind
    the last ones where nothing was measured."""
    step: int = state["stopping"]["best_step"] or state["step"]
    return step


def check_data(checkpoint: Path, fingerprint: str) -> None:
    """Raises StateError when it was trained on other prepared data than those."""
    trained = read_state(checkpoint)["data"]
    if trained != fingerprint:
        raise StateError(
            f"{checkpoint} was trained on prepared data {trained}, these are {fingerprint}: "
            "train anew, or bring back the logs, files and plugins that they were made from"
        )


def load_weights(checkpoint: Path) -> "Weights":
    """Whole, unsharded weights under the names of `Network.state_dict()`, in this process alone,
    however many processes wrote them. Each is read when it is asked for, anew each time: tables may
    fill the memory."""
    try:
        metadata = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    except Exception as error:
        raise StateError(f"{checkpoint}: not a usable checkpoint: {error}") from None
    return Weights(
        checkpoint,
        {
            name.removeprefix(f"{MODEL}."): part
            for name, part in metadata.items()
            if name.startswith(f"{MODEL}.") and isinstance(part, TensorStorageMetadata)
        },
    )


class Weights(Mapping[str, Tensor]):
    """Those of a checkpoint, read one by one."""

    def __init__(self, checkpoint: Path, parts: dict[str, TensorStorageMetadata]) -> None:
        self.checkpoint, self.parts = checkpoint, parts

    def __getitem__(self, name: str) -> Tensor:
        part = self.parts[name]
        weight = torch.empty(part.size, dtype=part.properties.dtype)
        _fill(self.checkpoint, {f"{MODEL}.{name}": weight}, no_dist=True)
        return weight

    def shape(self, name: str) -> torch.Size:
        """Of a weight that is not read for it."""
        return self.parts[name].size

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step}"


def latest(folder: Path) -> Path | None:
    """The checkpoint with most steps, if there is any."""
    return max(_checkpoints(folder), key=_step, default=None)


def prune(folder: Path, keep: set[int]) -> None:
    """Remove the checkpoints of other steps, and what unfinished writes left."""
    for checkpoint in _checkpoints(folder):
        if _step(checkpoint) not in keep:
            shutil.rmtree(checkpoint)
    for remnant in folder.glob(".step-*.tmp"):
        shutil.rmtree(remnant)


def random_state() -> dict[str, Any]:
    """States of the random generators of Python, NumPy, torch and, where there is one, the GPU."""
    version, words, gauss = random.getstate()
    numbers = np.random.get_state(legacy=False)
    return {
        "python": [version, list(words), gauss],
        "numpy": numbers
        | {"state": {k: np.asarray(v).tolist() for k, v in numbers["state"].items()}},
        "torch": _encode(torch.get_rng_state()),
        "cuda": _encode(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Take up what `random_state` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    key = np.array(state["numpy"]["state"]["key"], np.uint32)
    np.random.set_state(state["numpy"] | {"state": state["numpy"]["state"] | {"key": key}})
    torch.set_rng_state(_decode(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_decode(state["cuda"]))


def _fill(checkpoint: Path, tensors: dict[str, Any], no_dist: bool = False) -> None:
    try:
        with warnings.catch_warnings():  # of a load outside a process group, of ShardedTensor
            warnings.simplefilter("ignore")
            dcp.load(tensors, storage_reader=FileSystemReader(checkpoint), no_dist=no_dist)
    except (Exception, CheckpointException) as error:
        _interrupt_again(error)
        raise StateError(f"{checkpoint}: not a usable checkpoint: {_reason(error)}") from None


def _checkpoints(folder: Path) -> list[Path]:
    return [entry for entry in folder.glob("step-*") if NAME.fullmatch(entry.name)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _encode(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _decode(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, allow_nan=False))


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _failures(error: BaseException) -> list[BaseException]:
    """Those of the processes, without torch's traces."""
    return [failure for failure, _ in getattr(error, "failures", {}).values()] or [error]


def _interrupt_again(error: BaseException) -> None:
    """Raise the interrupt that torch took for a failure to read or write, if it was one."""
    for failure in _failures(error):
        if isinstance(failure, KeyboardInterrupt):
            raise failure


def _reason(error: BaseException) -> str:
    """The first failure of any process."""
    error = _failures(error)[0]
    if SHORT_WRITE.search(str(error)):
        return "no space left to write"
    if missing := MISSING.search(str(error)):
        return (
            f"it holds no `{missing[1]}`, so another version of fulcrum wrote it: train anew, or "
            "go on with that version"
        )
    return str(error) or type(error).__name__
