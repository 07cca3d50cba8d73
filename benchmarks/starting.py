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
SCORE = "imports of `fulcrum score`"
SERVE = "imports of `fulcrum serve`"
RESOLVE = "import fulcrum.serving.publishing.resolve"
"""What finds a model in a folder; MLflow is imported only for one of a store."""
MOST = 1.5
"""Seconds of CPU that a look at a config may take."""


def measure(folder: Path, size: Size) -> list[Figure]:
    """Commands against the import of torch, which a config needs and the others do not."""
    config = folder / "start.yaml"
    config.write_text(to_yaml(make_run(folder, size)))
    commands = {
        HELP: ["-m", "fulcrum", "--help"],
        SHOW: ["-m", "fulcrum", "show", str(config)],
        SCORE: ["-c", f"{RESOLVE}, fulcrum.serving.scoring.files"],
        SERVE: ["-c", f"{RESOLVE}, fulcrum.serving.http.model_service, fulcrum.serving.service"],
        TORCH: ["-c", "import torch"],
    }
    rounds = [
        {name: 1 / _cpu_seconds(arguments) for name, arguments in commands.items()}
        for _ in range(size.rounds + 1)
    ]
    rates = Rates(rounds[1:])
    aims = {HELP: 4.0, SCORE: 1.2, SERVE: 1.0}
    seconds = {name: 1 / rates.median(name) for name in commands}
    cpu = {name: f"{value:.2f} s of CPU" for name, value in seconds.items()}
    return [
        *(
            Figure(name, cpu[name], rates.ratio(name, TORCH), TORCH, aim)
            for name, aim in aims.items()
        ),
        limited(SHOW, cpu[SHOW], MOST / seconds[SHOW], f"{MOST} s"),
        Figure(TORCH, cpu[TORCH]),
    ]


def _cpu_seconds(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
