"""A tracking server of MLflow as a process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 120
"""For it to answer."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """The address of a server that keeps everything in `folder`; killed at the end."""
    address = f"http://127.0.0.1:{port}"
    places = ("--backend-store-uri", f"sqlite:///{folder}/server.db")
    files = ("--artifacts-destination", str(folder / "server"))
    command = ("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, *places, *files],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + SECONDS
        while not answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=1) as answer:
        return bool(answer.status == 200)
    return False
