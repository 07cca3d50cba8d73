"""A tracker in one process, fed by another through a file of JSON lines."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from fulcrum.pipelines.tracking.protocol import Tracker

SECONDS_BETWEEN_LOOKS = 1.0


class FileTracker:
    """Appends what it is told to a file."""

    def __init__(self, file: Path) -> None:
        self.stream = file.open("a", buffering=1)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._write({"metrics": dict(metrics), "step": step})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self._write({"path": str(path), "folder": folder})

    def _write(self, message: dict) -> None:
        self.stream.write(json.dumps(message) + "\n")


@contextmanager
def relay(file: Path, tracker: Tracker) -> Iterator[None]:
    """Inside the block, tell `tracker` what a FileTracker writes to the file; all of it by the end.

    An error of the tracker is raised at the end, unless the block raised one.
    """
    file.write_text("")
    end = Event()
    errors: list[Exception] = []

    def follow() -> None:
        with file.open("rb") as stream:
            last = False
            while not last:
                last = end.wait(SECONDS_BETWEEN_LOOKS)
                while (line := stream.readline()).endswith(b"\n"):
                    _tell(tracker, json.loads(line))
                stream.seek(-len(line), os.SEEK_CUR)

    def run() -> None:
        try:
            follow()
        except Exception as error:
            errors.append(error)

    thread = Thread(target=run, name="relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if errors:
        raise errors[0]


def _tell(tracker: Tracker, message: dict) -> None:
    if "metrics" in message:
        tracker.log_metrics(message["metrics"], message["step"])
    else:
        tracker.log_artifact(Path(message["path"]), message["folder"])
