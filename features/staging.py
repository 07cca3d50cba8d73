"""Folders that appear whole or not at all."""

import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError

from fulcrum.features.errors import ResourceError

logger = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_NO_NUMBER = "Invalid thrift: transport error"
"""All that Polars says when there is no space for the header of a page or for the footer."""
_MARK = ".unfinished-"
_LOCK = "lock"
_YOUNG = 60
"""Seconds for which a folder is left alone: its maker may be about to lock it."""


@contextmanager
def staged(target: Path, replace: bool = False) -> Iterator[Path]:
    """A new folder that becomes `target` when the block ends well, and goes otherwise.

    Of several processes that make the same target, the first to finish wins; the others' folders
    go. With `replace` the last one wins, and what was there before goes. What a killed process left
    behind is removed by the next one. Raises ResourceError when the disk is full or may not be
    written to.
    """
    with full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        folder = target.with_name(f"{_MARK}{target.name}-{secrets.token_hex(4)}")
        folder.mkdir()
        try:
            with _hold(folder / _LOCK):
                yield folder
                (folder / _LOCK).unlink()
                if replace and target.exists():
                    _make_room(target)
                _take_place(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turns "no space left", "not permitted" and "not a folder" inside the block into a
    ResourceError."""
    try:
        yield
    except (OSError, PolarsError) as error:
        number = _number(error)
        if is_full(error):
            raise ResourceError(
                f"{path}: no space left to write; nothing was kept, earlier results are intact"
            ) from error
        if number in _REFUSED:
            raise ResourceError(f"{path}: may not be written to ({error})") from error
        raise


def is_full(error: Exception) -> bool:
    """Whether an error of writing says that the disk, or what this user may have of it, is full."""
    return _number(error) in _FULL or _NO_NUMBER in str(error)


def _number(error: Exception) -> int | None:
    """The system's number of an error; Polars tells it as `(os error 28)`."""
    match = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or (int(match[1]) if match else None)


def _make_room(target: Path) -> None:
    old = target.with_name(f"{_MARK}{target.name}-{secrets.token_hex(4)}")
    os.rename(target, old)
    shutil.rmtree(old, ignore_errors=True)


def _take_place(folder: Path, target: Path) -> None:
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        logger.info("%s was made by another process meanwhile", target)


@contextmanager
def _hold(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(parent: Path) -> None:
    """Remove unfinished folders whose maker is gone: the lock dies with the process."""
    for lock in parent.glob(f"{_MARK}*/{_LOCK}"):
        try:
            if time.time() - lock.stat().st_mtime < _YOUNG:
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue
