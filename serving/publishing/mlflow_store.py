"""A client of a store of MLflow, for runs as for models, and the errors of both."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from fulcrum.features.errors import FulcrumError, ResourceError
from fulcrum.serving.publishing.store import SQLITE, address, database

# It logs the traceback of what it raises, which is told in one sentence.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

HEADER = b"SQLite format 3\0"
"""How every SQLite file begins."""


def client(uri: str, *, make: bool = False) -> MlflowClient:
    """A client of a store or a server; of a SQLite file that is not there only to `make` it.

    Raises ResourceError at once where MLflow would try to open a file again and again, and where
    it would choose a store itself.
    """
    if not uri:
        raise ResourceError("the URI of the store is empty; expected sqlite:///FILE or a server's")
    file = database(uri)
    if file is not None:
        with answering(uri):
            if make:
                _make(file)
            elif not _begun(file):
                raise ResourceError(f"there is no store {uri} (see --tracking)")
            with file.open("rb") as stream:
                if stream.read(len(HEADER)) != HEADER:
                    raise ResourceError(f"{uri}: the file is no SQLite database")
    try:
        with answering(uri):
            return MlflowClient(tracking_uri=address(uri), registry_uri=address(uri))
    except (ImportError, ValueError) as error:  # no driver of that database, no URI
        raise ResourceError(f"MLflow cannot use {uri}: {error}") from error


def _make(file: Path) -> None:
    """A new store where there is none, whole or not at all: MLflow makes its tables in many steps,
    and can go on neither after a kill between them nor beside another process that takes them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(file.parent):
        if _begun(file):
            return
        folder = file.with_name(f".{file.name}.partial")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            made = folder / "store.db"
            store = SqlAlchemyStore(
                address(f"{SQLITE}{made}"), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
            )
            store.engine.dispose()
            made.replace(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _begun(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; the lock dies with it, and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def answering(uri: str, kind: type[FulcrumError] = ResourceError) -> Iterator[None]:
    """Turn errors of MLflow, its database and its server inside the block into one that names the
    store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        message = str(getattr(error, "message", error)).partition("\n")[0]
        raise kind(f"MLflow at {uri} does not work: {message}") from error
