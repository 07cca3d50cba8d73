"""Config classes that a YAML names by where they lie, `module:Class`: in a file beside the YAML, or
in any module that Python finds.

Only reading a config that the user names follows an import path: `beside`. A state or a bundle may
come from anyone. What it names must have been followed for a config before, or an installed
distribution must declare it as an entry point.
"""

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, create_model

from fulcrum.features.cause import cause
from fulcrum.features.errors import nearest

M = TypeVar("M", bound=BaseModel)

PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
TEXTS: dict[str, bytes] = {}
"""Of the files beside configs, by the modules that were read from them."""
_followed: set[str] = set()
_folders: ContextVar[tuple[Path, ...] | None] = ContextVar("folders", default=None)
"""Of the files that are being read."""


@contextmanager
def beside(*folders: Path) -> Iterator[None]:
    """Follow import paths in the block: `mine:Class` into `mine.py` of the first of the folders
    that has it, else, as `package.mine:Class`, into the module that Python finds."""
    token = _folders.set(tuple(dict.fromkeys(folder.absolute() for folder in folders)))
    try:
        yield
    finally:
        _folders.reset(token)


def member(path: str, base: type[M], tag: str) -> type[M]:
    """The class at an import path, a subclass of `base`, whose field `tag` is the path.

    Raises ValueError where the path may not be followed (see above), leads nowhere or to another
    kind of thing, and where the module cannot be loaded.
    """
    if not re.fullmatch(PATTERN, path):
        raise ValueError("expected an import path, `module:Class`")
    if _folders.get() is None and path not in _followed | _declared():
        raise ValueError(
            f"`{path}` is imported only where a config is read; expected an installed package that "
            "declares it as an entry point"
        )
    module_name, _, name = path.partition(":")
    parts = vars(_module(module_name))
    members = [
        n for n, v in parts.items() if isinstance(v, type) and issubclass(v, base) and v is not base
    ]
    if name not in parts:
        place = parts.get("__file__") or module_name
        raise ValueError(f"there is no `{name}` in {place}{nearest(name, members)}")
    if name not in members:
        raise ValueError(f"`{path}`: expected a subclass of {base.__name__}, got {parts[name]!r}")
    _followed.add(path)
    return _tagged(parts[name], tag, path)


def validate(value: Any, path: str, base: type[M], tag: str) -> M:
    """A value as the class at an import path; raises ValueError as `member` does, and where code of
    the class raises what pydantic lets through."""
    kind = member(path, base, tag)
    try:
        return kind.model_validate(value)
    except (ValueError, AssertionError):
        raise
    except Exception as error:
        raise ValueError(f"`{path}` cannot be read ({cause(error)})") from error


@cache
def _declared() -> frozenset[str]:
    """What installed distributions declare as parts."""
    entries = entry_points()
    groups = [group for group in entries.groups if group.startswith("fulcrum.")]
    return frozenset(entry.value for group in groups for entry in entries.select(group=group))


@cache
def _tagged(base: type[M], tag: str, path: str) -> type[M]:
    field: Any = (Literal[path], path)
    return create_model(
        base.__name__,
        __base__=base,
        __module__=base.__module__,
        __doc__=base.__doc__,
        **{tag: field},
    )


def _module(name: str) -> ModuleType:
    """Raises ValueError when there is none, and with its line when it cannot be loaded."""
    folders = _folders.get() or ()
    file = next((f for folder in folders if (f := folder / f"{name}.py").is_file()), None)
    try:
        return import_module(name) if file is None else _beside(name, file)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, or a class of the module's own
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            files = [f.stem for folder in folders for f in folder.glob("*.py")]
            places = " or ".join([*map(str, folders), "what is installed"])
            message = f"there is no module `{name}` in {places}{nearest(name, files)}"
            raise ValueError(message) from None
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f":{frame.lineno}" for frame in frames if frame.filename == str(file)]
        place = f"{file or name}{lines[-1] if lines else ''}"
        raise ValueError(f"{place} cannot be loaded ({cause(error)})") from error


def _beside(name: str, file: Path) -> ModuleType:
    """The module of a file. Raises ImportError when another one has its name."""
    text = file.read_bytes()
    if name in sys.stdlib_module_names:
        raise ImportError(f"`{name}` is a module of Python's own; rename the file")
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(file)
        try:
            exec(compile(text, file, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    else:
        other = getattr(sys.modules[name], "__file__", None)
        if (TEXTS.get(name) or (other and Path(other).read_bytes())) != text:
            raise ImportError(
                f"another `{name}` is loaded already, from {other or 'Python'}; rename the file, "
                "or start a new process if it has changed"
            )
    TEXTS[name] = text
    return sys.modules[name]
