"""One of the processes that `fulcrum.pipelines.training.launch` starts."""

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from fulcrum.features.import_path import beside
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.console import terminal
from fulcrum.pipelines.console.progress import for_console
from fulcrum.pipelines.tracking.across_processes import FileTracker
from fulcrum.pipelines.training.trainer import train

CONFIG, MESSAGES = "config.json", "messages.jsonl"
"""Files of the job's folder: the run to train, beside those that its parts come from, and what its
tracker is told."""


@record
def main(dataset: str, folder: str, job: str) -> None:
    """Train the job's run with the other processes, going on from the latest checkpoint."""
    if "OMP_NUM_THREADS" not in os.environ:
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    first = os.environ["RANK"] == "0"
    with beside(Path(job)):
        run = RunConfig.model_validate_json(Path(job, CONFIG).read_text())
    with ExitStack() as stack:
        if first:
            logging.getLogger().handlers.clear()  # torch's agent has put its own there
            terminal.start_logging()
            stack.enter_context(terminal.log_file(Path(folder).parent / terminal.LOG))
        train(
            run,
            PreparedDataset.open(Path(dataset)),
            Path(folder),
            tracker=FileTracker(Path(job, MESSAGES)) if first else None,
            progress=for_console(terminal.messages) if first else None,
            resume=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
