"""What the commands show: results on stdout, progress and messages on stderr."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler

WIDTH = 140
"""Of tables in a file or a pipe, where no terminal says how wide it is."""

results = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
messages = Console(stderr=True, highlight=False)

PACKAGES = ("features", "models", "serving", "pipelines")
QUIET = ("torch.fx._symbolic_trace",)


def start_logging() -> None:
    """Show what our packages say; of the libraries, warnings alone, and not all."""
    handler: logging.Handler
    if messages.is_terminal:
        handler = RichHandler(console=messages, show_level=False, show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
