from collections.abc import Mapping
from pathlib import Path

import pytest

from fulcrum.pipelines.tracking import across_processes
from fulcrum.pipelines.tracking.across_processes import FileTracker, relay


class Memory:
    def __init__(self) -> None:
        self.told: list[tuple] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.told.append((dict(metrics), step))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self.told.append((path, folder))


@pytest.mark.parametrize("pause", [0.001, 5.0])
def test_everything_arrives_in_order(
    tmp_path: Path, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(across_processes, "SECONDS_BETWEEN_LOOKS", pause)
    memory, file = Memory(), tmp_path / "messages"
    with relay(file, memory):
        tracker = FileTracker(file)
        for step in range(200):
            tracker.log_metrics({"loss/é": 0.1 + step}, step)
        tracker.log_artifact(Path("plan.txt"), "data")
    assert memory.told == [
        *(({"loss/é": 0.1 + step}, step) for step in range(200)),
        (Path("plan.txt"), "data"),
    ]


def test_half_a_line_waits_for_its_other_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(across_processes, "SECONDS_BETWEEN_LOOKS", 0.001)
    memory, file = Memory(), tmp_path / "messages"
    with relay(file, memory), file.open("a", buffering=1) as stream:
        for part in ('{"metrics": {"a"', ': 1.0}, "step"', ": 3}\n"):
            stream.write(part)
            stream.flush()
    assert memory.told == [({"a": 1.0}, 3)]


def test_an_error_of_the_tracker_is_raised_at_the_end(tmp_path: Path) -> None:
    class Broken(Memory):
        def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
            raise OSError("store is gone")

    with pytest.raises(OSError, match="gone"), relay(tmp_path / "messages", Broken()):
        FileTracker(tmp_path / "messages").log_metrics({"a": 1.0}, 1)
