"""What `fulcrum train` costs beyond its steps and evaluations."""

from pathlib import Path

from benchmarks.figure import Figure, limited
from benchmarks.logs import Size
from benchmarks.shipped import FEEDBACK, train

MOST = 12
"""Seconds that it may cost."""


def measure(folder: Path, size: Size) -> list[Figure]:
    """One epoch of the smaller shipped log, from raw rows to a registered model."""
    run = train(FEEDBACK, folder / "shipped")
    what = "`fulcrum train`, one epoch"
    parts = f"{run.prepared:.1f} s until prepared, {run.after:.1f} s after the last evaluation"
    return [
        limited(
            f"{what}: beyond steps and evaluations",
            f"{run.fixed:.1f} s",
            MOST / run.fixed,
            f"{MOST} s",
            parts,
        ),
        Figure(
            f"{what}: whole",
            f"{run.whole:.1f} s",
            spread=f"{run.stepping:.1f} s of steps; {run.cpu:.1f} CPU s in all",
        ),
    ]
