"""What a weighting costs: steps of one network for five tasks against those of static weights."""

import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.apart import apart
from benchmarks.figure import Figure, per_second
from benchmarks.logs import TASKS, Size, make_run
from benchmarks.memory import peak
from benchmarks.rounds import interleave
from benchmarks.training import THREADS, train
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.models.weightings import WEIGHTINGS
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training.processes import process_group

STATIC = "static"
VALUES, GRADIENTS, AGENT = 1 / 1.03, 1 / 1.35, 1 / 1.6
"""Aims: the steps of a method that looks at losses take at most 1.03 times as long, of one that
looks at gradients every tenth step 1.35 times, of one that asks a network about every row 1.6."""
FAMO, PCGRAD = "famo, between looks", "pcgrad, between looks"
"""Methods that look again after the step, or at gradients, in the steps in which they do not."""
AIMS = {
    "uncertainty": VALUES,
    "igb": VALUES,
    "igb_sac": VALUES,
    "famo": VALUES,
    "coba": VALUES,
    "gradnorm": GRADIENTS,
    "pcgrad": GRADIENTS,
    "cagrad": GRADIENTS,
    "nash": GRADIENTS,
    "upgrad": GRADIENTS,
    "rmtl": AGENT,
    FAMO: VALUES,
    PCGRAD: VALUES,
}
NEVER = 10**9
SETTINGS: dict[str, dict[str, Any]] = {
    "gradnorm": {"window": 1},
    FAMO: {"every": NEVER},
    PCGRAD: {"gramian": {"kind": "sketch", "every": NEVER}},
}
"""Beside the defaults, by which GradNorm looks at no gradient in its first epoch."""
STEPS = 20
"""Of each method in a round: two looks at gradients, at held-out rows or at the batch again."""


def rates(folder: Path, size: Size) -> list[Figure]:
    """Rows per second of every method, in turns."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    dataset = prepared(folder, size)
    with process_group() as process:
        actions = {
            title(method): train(
                run(folder, size, method), dataset, folder / method, process, STEPS
            )
            for method in methods()
        }
        measured = interleave(size.rounds, actions)
    limit = title(STATIC)
    return [
        per_second(measured, title(method), limit=limit, aim=AIMS[method])
        for method in methods()
        if method != STATIC
    ] + [per_second(measured, limit)]


def memory(folder: Path, size: Size) -> list[Figure]:
    """The peak of every method, each in a process of its own, on the data that `rates` left: to
    prepare them takes more memory than to train, and peaks are inherited."""
    settled = [method for method in methods() if method not in (FAMO, PCGRAD)]
    return [f for method in settled for f in apart("weightings:peak_of", folder, size, method)]


def peak_of(folder: Path, size: Size, method: str) -> list[Figure]:
    """The most that a process held which trained by this method."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    with process_group() as process:
        config = run(folder, size, method)
        train(config, prepared(folder, size), folder / method, process, STEPS)()
    return [peak(title(method))]


def methods() -> list[str]:
    """Those of this benchmark that are registered; static weights first."""
    return [STATIC, *(method for method in AIMS if name(method) in WEIGHTINGS)]


def name(method: str) -> str:
    """Without what is told of its settings."""
    return method.split(",")[0]


def title(method: str) -> str:
    return f"training 5 tasks, {method}"


def run(folder: Path, size: Size, method: str) -> RunConfig:
    """Five tasks, and a validation split for the method that learns from it."""
    config = make_run(folder, size, tasks=len(TASKS), valid=0.05, precision="fp32")
    weighting = WEIGHTINGS[name(method)](**SETTINGS.get(method, {}))
    return config.model_copy(update={"weighting": weighting})


def prepared(folder: Path, size: Size) -> PreparedDataset:
    """The data of every method."""
    config = run(folder, size, STATIC)
    return prepare(config, Path(config.workspace))
