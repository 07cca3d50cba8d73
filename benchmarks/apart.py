"""One benchmark in a process of its own, so that none sees another's memory or settings."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from benchmarks.figure import Figure


def apart(name: str, folder: Path) -> list[Figure]:
    """The figures of `<module>:<function>`, imported over there: this process stays small."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_run, name, folder).result()


def _run(name: str, folder: Path) -> list[Figure]:
    from benchmarks.logs import Size

    module, function = name.split(":")
    figures: list[Figure] = getattr(import_module(f"benchmarks.{module}"), function)(folder, Size())
    return figures
