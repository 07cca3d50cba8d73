"""What a command costs before its work begins, in seconds of CPU: every typo pays it."""

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import Figure, per_second
from benchmarks.logs import Size, make_run
from benchmarks.rounds import Rates
from fulcrum.pipelines.config.load import to_yaml

TORCH = "`import torch`"
HELP = "`fulcrum --help`"
SHOW = "`fulcrum show CONFIG`"


def measure(folder: Path, size: Size) -> list[Figure]:
    """Both commands against the import of torch, which a config needs and the help does not."""
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
    aims = {HELP: 4.0, SHOW: 0.5}
    figures = [per_second(rates, name, "/CPU s", TORCH, aim) for name, aim in aims.items()]
    return [*figures, per_second(rates, TORCH, "/CPU s")]


def _cpu_seconds(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
