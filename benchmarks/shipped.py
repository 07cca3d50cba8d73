"""`fulcrum train` on the shipped logs, as a user types it."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
KUAIRAND = "configs/kuairand/mmoe.yaml"
FEEDBACK = "configs/kuairand-feedback/mmoe.yaml"
REGISTERED = re.compile(r"registered as (models:/\S+)")


@dataclass(frozen=True)
class Trained:
    """What a run took and left."""

    model: str
    """Its URI, from the folder of the run."""


def train(config: str, folder: Path) -> Trained:
    """One epoch of a shipped config in `folder`, unless it was trained there before."""
    folder.mkdir(parents=True, exist_ok=True)
    for shared in ("configs", "data"):
        if not (folder / shared).exists():
            (folder / shared).symlink_to(ROOT / shared)
    output = folder / f"{config.replace('/', '-')}.txt"
    if not output.exists():
        command = [sys.executable, "-m", "fulcrum", "train", config, "--set", "train.epochs=1"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        output.write_text(done.stdout)
    found = REGISTERED.search(output.read_text())
    assert found is not None
    return Trained(found[1])
