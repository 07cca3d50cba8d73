"""The online scorer: FastAPI over HTTP."""

from collections.abc import Sequence
from pathlib import Path

from serving.bundle import Bundle
from serving.session import Device


def serve(
    bundle: Bundle,
    *,
    name: str,
    version: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    history: str | Sequence[str] | None = None,
    store: Path | None = None,
    device: Device = "auto",
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the open ones.

    `store` is the SQLite file of past events, kept across restarts; in memory when left out.
    Raises ResourceError when the port is taken or the device missing.
    """
    raise NotImplementedError
