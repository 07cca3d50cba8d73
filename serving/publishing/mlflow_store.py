"""A client of a store of MLflow, for runs as for models, and the errors of both."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.util.exc import CommandError
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
"""How every SQLite file begins that is not empty."""


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
            if make and not file.exists():
                _make(file)
            elif not file.exists():
                raise ResourceError(f"there is no store {uri} (see --tracking)")
            with file.open("rb") as stream:
                if stream.read(len(HEADER)) not in (b"", HEADER):
                    raise ResourceError(f"{uri}: the file is no SQLite database")
    try:
        with answering(uri):
            return MlflowClient(tracking_uri=address(uri), registry_uri=address(uri))
    except (ImportError, ValueError) as error:  # no driver of that database, no URI
        raise ResourceError(f"MLflow cannot use {uri}: {error}") from error


def _make(file: Path) -> None:
    """A new store, whole or not at all: MLflow makes its tables in many steps, and can go on
    neither after a kill between them nor beside another process that takes them. Of several
    processes the first to finish wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        made = Path(folder, "store.db")
        uri = address(f"{SQLITE}{made}")
        SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
        try:
            os.link(made, file)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            made.replace(file)


@contextmanager
def answering(uri: str, kind: type[FulcrumError] = ResourceError) -> Iterator[None]:
    """Turn errors of MLflow, its database and its server inside the block into one that names the
    store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
        message = str(getattr(error, "message", error)).partition("\n")[0]
        raise kind(f"MLflow at {uri} does not work: {message}") from error
