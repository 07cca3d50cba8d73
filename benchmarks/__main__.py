"""`python -m benchmarks`: time the line on this machine and write the table; with names of parts,
`python -m benchmarks training scoring`, only those."""

import os
import platform
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.apart import apart
from benchmarks.figure import RESULTS, Figure, save, show

PARTS = {
    "online": ("serving:measure",),
    "hot_key": ("hot_key:measure",),
    "starting": ("starting:measure",),
    "fixed_costs": ("fixed_costs:measure",),
    "preparation": ("preparation:plain", "preparation:looking_back", "preparation:dealt"),
    "training": ("logs:ready", "training:measure", "training:small"),
    "scoring": ("logs:ready", "scoring:measure", "scoring_files:measure"),
    "peers": ("logs:ready", "peers.ratios:of_wide", "peers.ratios:of_census"),
    "weightings": ("logs:ready", "weightings:rates", "weightings:memory"),
    "trunks": ("trunks:fusion", "trunks:memory"),
}
"""Each in the order in which one uses what another left."""
ASKED_FOR = ("weightings", "trunks")
"""Left out unless named: they take half an hour."""


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}.", show_default=False)
    ] = None,
) -> None:
    """Show each part as soon as it is there. Threads wait as those of `fulcrum` do."""
    if unknown := [part for part in parts or () if part not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]}: expected one of {', '.join(PARTS)}")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    told: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in parts or [part for part in PARTS if part not in ASKED_FOR]:
            title = f"python -m benchmarks {part}"
            told[title] = []
            for name in PARTS[part]:
                with Console(stderr=True).status(name):
                    told[title] += apart(name, Path(folder))
            show(title, told[title])
    if not parts:
        save(RESULTS / "cpu.md", f"{os.cpu_count()} cores, {platform.machine()}", told)
        print(f"written to {RESULTS / 'cpu.md'}")


if __name__ == "__main__":
    typer.run(main)
