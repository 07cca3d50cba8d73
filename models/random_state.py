"""The random state at a moment, to draw the same again."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class RandomState:
    """torch's, of the processor and of the GPU where there is one."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Draw from there, then go on as if nothing had been drawn."""
        with torch.random.fork_rng():
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda)
            yield
