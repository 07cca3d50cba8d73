"""What a command costs before its work begins, in seconds of CPU: every typo pays it."""

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import Figure, limited
from benchmarks.logs import Size, make_run
from benchmarks.rounds import Rates
from fulcrum.pipelines.config.load import to_yaml

TORCH = "`import torch`"
HELP = "`fulcrum --help`"
SHOW = "`fulcrum show CONFIG`"
QUARTER = 4.0
"""Aim for the help: so much faster than the import."""
MOST = 1.5
"""Seconds of CPU that a look at a config may take."""


def measure(folder: Path, size: Size) -> list[Figure]:
    """The help against the import of torch, which it does not need; a look at a config."""
    config = folder / "start.yaml"
    config.write_text(to_yaml(make_run(folder, size)))
    commands = {
        HELP: ["-m", "fulcrum", "--help"],
        SHOW: ["-m", "fulcrum", "show", str(config)],
        TORCH: ["-c", "import torch"],
    }
    rounds = [
        {name: 1 / _cpu_seconds(arguments) for name, arguments in commands.items()}
        for _ in range(size.rounds + 1)
    ]
    rates = Rates(rounds[1:])
    seconds = {name: 1 / rates.median(name) for name in commands}
    told = {name: f"{cpu:.2f} s of CPU" for name, cpu in seconds.items()}
    return [
        Figure(HELP, told[HELP], rates.ratio(HELP, TORCH), TORCH, QUARTER),
        limited(SHOW, told[SHOW], MOST / seconds[SHOW], f"{MOST} s"),
        Figure(TORCH, told[TORCH]),
    ]


def _cpu_seconds(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
