"""How much memory a process needed."""

import resource
import sys

from benchmarks.figure import Figure


def peak(what: str) -> Figure:
    """The most that this process ever held. A process inherits the peak of the one that started
    it, so a benchmark that reports it is started by a small one."""
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Figure(f"{what}: peak memory", f"{held / 2**30:.2f} GiB")
