"""What a person sees while training runs: a bar on a terminal, plain log lines elsewhere."""

import logging
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fulcrum.pipelines.quality.metrics import Metrics

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class TrainProgress(Protocol):
    """Told how training goes; a context manager around it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None: ...

    def advance(self, step: int, steps: int, loss: float, rows_per_second: float) -> None:
        """`step` of `steps` are done; mean loss and speed since the last call."""

    def evaluated(self, step: int, metrics: Metrics) -> None:
        """The validation split was measured after `step` steps."""


class SilentProgress:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, step: int, steps: int, loss: float, rows_per_second: float) -> None:
        pass

    def evaluated(self, step: int, metrics: Metrics) -> None:
        pass


class PlainProgress(SilentProgress):
    """A log line every ten seconds and one for each evaluation."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()
        self.first_step: int | None = None
        self.last_step = 0

    def advance(self, step: int, steps: int, loss: float, rows_per_second: float) -> None:
        now = time.monotonic()
        if self.first_step is None or step < self.last_step:  # of a new phase
            self.first_step, self.began = step, now
        self.last_step = step
        if now - self.told < SECONDS_BETWEEN_LINES and step < steps:
            return
        self.told = now
        done = step - self.first_step
        left = (now - self.began) / done * (steps - step) if done else 0.0
        logger.info(
            "step %d of %d, loss %.4f, %s rows/s, %.0f s left",
            step,
            steps,
            loss,
            f"{rows_per_second:,.0f}",
            left,
        )

    def evaluated(self, step: int, metrics: Metrics) -> None:
        logger.info("step %d, valid: %s", step, summary(metrics))


class RichProgress(SilentProgress):
    """One live line: bar, rows per second, loss, time left; evaluations are printed above it."""

    def __init__(self, console: Console) -> None:
        self.bar = Progress(
            TextColumn("[bold]train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} rows/s"),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("train", total=None, speed="-", loss="-")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, step: int, steps: int, loss: float, rows_per_second: float) -> None:
        self.bar.update(
            self.task,
            completed=step,
            total=steps,
            loss=f"{loss:.4f}",
            speed=f"{rows_per_second:,.0f}",
        )

    def evaluated(self, step: int, metrics: Metrics) -> None:
        self.bar.console.print(f"step {step:,}  {summary(metrics)}", highlight=False)


def for_console(console: Console) -> TrainProgress:
    """A live bar on a terminal, log lines anywhere else."""
    return RichProgress(console) if console.is_terminal else PlainProgress()


def summary(metrics: Metrics) -> str:
    """The means over tasks, and AUC task by task."""
    shown = {k: v for k, v in metrics.items() if "/" not in k or k.startswith("auc/")}
    return "  ".join(f"{k} {'-' if v is None else f'{v:.4f}'}" for k, v in shown.items())
