"""What the commands show: results on stdout, progress and messages on stderr."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.logging import RichHandler

WIDTH = 140
"""Of tables in a file or a pipe, where no terminal says how wide it is."""

results = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
messages = Console(stderr=True, highlight=False)

LOG = "run.log"
"""File in a run's folder that keeps what was said."""
PACKAGES = ("fulcrum",)


class FirstLine(logging.Formatter):
    """Long messages, such as a sharding plan, are for the run's log file."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).partition("\n")[0]


def start_logging() -> None:
    """Show what our packages say; of the libraries, warnings, save what they tell each other."""
    handler: logging.Handler
    if messages.is_terminal:
        handler = RichHandler(
            console=messages,
            show_level=False,
            show_path=False,
            markup=False,
            log_time_format="%H:%M:%S",
        )
        handler.setFormatter(FirstLine("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(FirstLine("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)


def as_text(*tables: RenderableType) -> str:
    """What a pipe would get."""
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(*tables, sep="\n")
    return text.getvalue()


@contextmanager
def log_file(path: Path) -> Iterator[Path]:
    """Add what our packages say inside the block to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    for name in PACKAGES:
        logging.getLogger(name).addHandler(handler)
    try:
        yield path
    finally:
        for name in PACKAGES:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
