"""Training in several processes of this machine, started by torchrun's agent."""

import logging
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fulcrum.features import errors
from fulcrum.features.errors import FulcrumError, ResourceError
from fulcrum.features.plugins import sources
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.tracking.across_processes import relay
from fulcrum.pipelines.tracking.protocol import Tracker
from fulcrum.pipelines.training import worker
from fulcrum.pipelines.training.trainer import TrainResult, read_result

JOB = ".job"
"""Folder beside the checkpoints, there while the processes run."""

logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)


def launch(
    run: RunConfig, dataset: PreparedDataset, folder: Path, nproc: int, tracker: Tracker
) -> TrainResult:
    """Train a run in `nproc` processes, going on from the latest checkpoint under `folder`.

    What the first process tracks reaches `tracker` within a second. The first error of any process
    is raised here as itself; a process that was killed is a ResourceError.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < nproc:
        raise ResourceError(f"{nproc} processes need a GPU each; this machine has {gpus}")
    job = folder / JOB
    job.mkdir(parents=True, exist_ok=True)
    (job / worker.CONFIG).write_text(run.model_dump_json())
    for name, text in sources(run).items():
        (job / name).write_bytes(text)
    agent = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="",  # ours end the training, and the agent then ends its processes
    )
    arguments = ("-m", worker.__name__, str(dataset.folder), str(folder), str(job))
    try:
        with relay(job / worker.MESSAGES, tracker):
            elastic_launch(agent, sys.executable)(*arguments)
    except ChildFailedError as error:
        raise _cause(error) from None
    finally:
        shutil.rmtree(job, ignore_errors=True)
    return read_result(folder)


def _cause(error: ChildFailedError) -> FulcrumError:
    """Why the training ended. When one process goes, the others lose their connection to it, and
    which of them the agent sees first is chance: an error of ours comes first, then a process that
    a signal ended (SIGTERM is the agent's own, for those left), then whatever else there is."""
    ours = [e for f in error.failures.values() if (e := _error_of_ours(f)) is not None]
    if ours:
        return ours[0]
    rank, failure = error.get_first_failure()
    for other, end in error.failures.items():
        if end.exitcode < 0 and end.exitcode != -signal.SIGTERM:
            rank, failure = other, end
    return ResourceError(f"process {rank} of the training ended: {_message(failure)}")


def _error_of_ours(failure: ProcessFailure) -> FulcrumError | None:
    """The error of ours that ended a process, from `<class>: <text>`, as torch records it."""
    name, _, text = _message(failure).partition(": ")
    kind = getattr(errors, name, None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, FulcrumError) else None


def _message(failure: ProcessFailure) -> str:
    record: Any = failure.message  # a text, or a dictionary that holds it
    return record["message"] if isinstance(record, dict) else record
