"""`fulcrum serve` as a process, for the benchmarks that ask it."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[psutil.Process, int]]:
    """A service that runs in `folder` and is ready, and its port.

    Raises AssertionError when it does not become ready or does not end well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fulcrum", "serve", "--device", "cpu", "--port", str(port)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, *arguments], cwd=folder, stderr=errors)
        try:
            while not ready(port) and process.poll() is None:
                time.sleep(0.1)
            if process.poll() is None:
                yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            process.wait(timeout=60)
            errors.seek(0)
            text = errors.read()
            assert process.returncode == 0 and "Traceback" not in text, text


def ready(port: int) -> bool:
    """Whether requests would be answered."""
    try:
        fetch(port, "/v2/health/ready")
    except OSError:
        return False
    return True


def fetch(port: int, path: str) -> bytes:
    """The body of an answer. Raises OSError when there is none or its status is not 200."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body
