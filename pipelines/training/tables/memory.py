"""How much memory tables may take: what the device has, and what is left to one process."""

from pathlib import Path

import psutil
import torch

from fulcrum.pipelines.training.processes import Process

FOR_TABLES = 0.85
"""Share of the memory; the rest is for batches, activations and the dense part."""
GIB = 1 << 30


def of_device(process: Process) -> int:
    """Bytes of a GPU for the tables of its process; 0 on a CPU, which has none of its own."""
    if process.device.type == "cpu":
        return 0
    total = torch.cuda.get_device_properties(process.device).total_memory
    return int(FOR_TABLES * total)


def of_host(process: Process) -> int:
    """Bytes of the machine's memory for the tables of one process: all processes of a machine have
    an equal share of what it has, or of what a control group leaves them."""
    return int(FOR_TABLES * min(psutil.virtual_memory().total, limit())) // process.local_world


def limit(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the control groups of this process leave it, infinite where none says a number.

    `groups` lists them, one `number:controllers:/path` a line; under `mount` lie their files, of
    version 2 or 1. The smallest limit of a group and of those above it holds. A container may not
    see its own path, only what is mounted in its place: then the topmost folder is its own.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # no Linux
        return float("inf")
    limits = [float("inf")]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            limits += _bytes(folder / name)
    return min(limits)


def as_text(size: float) -> str:
    """`1.5 GiB`, and `20.0 MiB` for what is small."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / (1 << 20):,.1f} MiB"


def _bytes(file: Path) -> list[float]:
    """The number in a file; none where there is no file, or it says `max`."""
    try:
        return [float(file.read_text())]
    except (OSError, ValueError):
        return []
