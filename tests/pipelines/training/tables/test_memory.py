from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from fulcrum.pipelines.training.processes import Process
from fulcrum.pipelines.training.tables import memory


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_tightest_group_on_the_way_up_holds(tmp_path: Path, groups: Path) -> None:
    groups.write_text("0::/pod/run\n")
    write(tmp_path / "pod" / "memory.max", "3000\n")
    write(tmp_path / "pod" / "run" / "memory.max", "max\n")
    assert memory.limit(groups, tmp_path) == 3000
    write(tmp_path / "pod" / "run" / "memory.max", "2000\n")
    assert memory.limit(groups, tmp_path) == 2000


def test_a_container_that_does_not_see_its_path_has_what_is_mounted(
    tmp_path: Path, groups: Path
) -> None:
    groups.write_text("0::/docker/abc\n")
    write(tmp_path / "memory.max", "4096\n")
    assert memory.limit(groups, tmp_path) == 4096


def test_version_1_has_a_folder_for_memory(tmp_path: Path, groups: Path) -> None:
    groups.write_text("7:pids:/x\n4:cpu,memory:/x\n0::/\n")
    write(tmp_path / "memory" / "x" / "memory.limit_in_bytes", "5000")
    write(tmp_path / "memory" / "memory.limit_in_bytes", str(2**63 - 4096))
    assert memory.limit(groups, tmp_path) == 5000


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory.limit(tmp_path / "none", tmp_path) == float("inf")


@pytest.mark.parametrize(("limit", "least"), [(1000.0, 1000), (float("inf"), 8000)])
def test_processes_of_a_machine_share_what_there_is(
    monkeypatch: pytest.MonkeyPatch, limit: float, least: int
) -> None:
    """Four processes on two machines: each has half of one machine."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8000))
    monkeypatch.setattr(memory, "limit", lambda: limit)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    process = Process(0, 4, torch.device("cpu"))
    assert memory.of_host(process) == int(memory.FOR_TABLES * least) // 2
    assert memory.of_device(process) == 0
