"""A disk that is really full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size in a new folder; the test is skipped where none can be mounted."""
    folder.mkdir()
    allowed = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={mebibytes}m,mode=777"
    mount = [*allowed, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        reason = subprocess.run(mount, capture_output=True, text=True).stderr
    except FileNotFoundError as error:
        reason = str(error)
    if not folder.is_mount():
        pytest.skip(f"no file system can be mounted here: {reason.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([*allowed, "umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is left of the disk, to the last byte."""
    with pytest.raises(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return folder / "ballast"
