"""`python -m benchmarks`: time everything on this machine and write the table."""

import os
import platform
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.apart import apart
from benchmarks.figure import RESULTS, Figure, save, to_rich

BENCHMARKS = (
    "starting:measure",
    "preparation:plain",
    "preparation:looking_back",
    "training:measure",
    "training:small",
    "weightings:rates",
    "weightings:memory",
    "trunks:fusion",
    "trunks:memory",
    "scoring:measure",
    "scoring_files:measure",
)
"""In the order in which one uses what another left."""


def main() -> None:
    """Show each figure as soon as it is there. Threads wait as those of `fulcrum` do."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    console = Console()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            with console.status(name):
                measured = apart(name, Path(folder))
            console.print(to_rich(name, measured))
            figures += measured
    save(RESULTS / "cpu.md", f"{os.cpu_count()} cores, {platform.machine()}", figures)
    console.print(f"written to {RESULTS / 'cpu.md'}")


if __name__ == "__main__":
    main()
