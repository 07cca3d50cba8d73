"""Preparation of raw logs: reading, fitting, transforming, writing shards."""

import shutil
from pathlib import Path

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size, make_run, write_logs
from benchmarks.memory import peak
from benchmarks.rounds import interleave
from fulcrum.features.prepared.prepare import prepare

PLAIN, LOOKING_BACK = (
    "preparation: 26 ids, 13 numbers, 3 labels",
    "preparation, with 3 windows and a history of 50",
)


def plain(folder: Path, size: Size) -> list[Figure]:
    """Make the logs and prepare them; what is prepared last stays for the other benchmarks."""
    write_logs(folder, size)
    return _measure(PLAIN, folder, size, looking_back=False)


def looking_back(folder: Path, size: Size) -> list[Figure]:
    """Prepare the same logs with features of the past."""
    return _measure(LOOKING_BACK, folder, size, looking_back=True)


def _measure(what: str, folder: Path, size: Size, looking_back: bool) -> list[Figure]:
    run = make_run(folder, size, looking_back=looking_back)
    workspace = Path(run.workspace)

    def action() -> float:
        shutil.rmtree(workspace, ignore_errors=True)
        prepare(run, workspace)
        return size.rows

    rates = interleave(size.repeats, {what: action})
    return [per_second(rates, what), peak(what)]
