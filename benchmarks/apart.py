"""One benchmark in a process of its own, so that none sees another's memory or settings."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure


def apart(name: str, folder: Path, *more: Any) -> list[Figure]:
    """The figures of `<module>:<function>`, imported over there: this process stays small. `more`
    are the function's arguments behind the folder, by default the full size."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_run, name, folder, more).result()


def _run(name: str, folder: Path, more: tuple[Any, ...]) -> list[Figure]:
    from benchmarks.logs import Size

    module, function = name.split(":")
    arguments = more or (Size(),)
    figures: list[Figure] = getattr(import_module(f"benchmarks.{module}"), function)(
        folder, *arguments
    )
    return figures
