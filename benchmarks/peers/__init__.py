"""Other libraries for multi-task recommenders at the same work, side by side with ours.

`make bench-peers` installs them into a folder of their own, without what they depend on: that is
all there already, and newer."""

import sys
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".peers"
RECHUB, DEEPCTR = "torch-rechub", "DeepCTR-Torch"
PACKAGES = {RECHUB: "torch_rechub", DEEPCTR: "deepctr_torch"}
"""Library to package."""


def installed(library: str) -> bool:
    """Whether it can be imported, from its folder if nowhere else."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return find_spec(PACKAGES[library]) is not None
