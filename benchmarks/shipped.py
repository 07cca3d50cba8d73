"""`fulcrum train` on the shipped logs, as a user types it, and where its time goes."""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
KUAIRAND = "configs/kuairand/mmoe.yaml"
FEEDBACK = "configs/kuairand-feedback/mmoe.yaml"
REGISTERED = re.compile(r"registered as (models:/\S+)")
PREPARED, BUILT, EVALUATED = (
    re.compile(r"prepared data set"),
    re.compile(r"sharding plan of"),
    re.compile(r"step \d+, valid:"),
)
"""What the command logs before and after its steps."""


@dataclass(frozen=True)
class Trained:
    """What a run took, in seconds of the clock unless it says otherwise, and left."""

    model: str
    """Its URI, from the folder of the run."""
    cpu: float
    """Seconds of CPU."""
    whole: float
    prepared: float
    """Until the data set was."""
    stepping: float
    """Of that the steps, and the evaluations in between."""
    after: float
    """From the last of them to the end."""

    @property
    def fixed(self) -> float:
        """Beyond steps and evaluations."""
        return self.whole - self.stepping


def train(config: str, folder: Path) -> Trained:
    """One epoch of a shipped config in `folder`, unless it was trained there before."""
    record = folder / f"{Path(config).parent.name}.json"
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for shared in ("configs", "data"):
            (folder / shared).unlink(missing_ok=True)
            (folder / shared).symlink_to(ROOT / shared)
        record.write_text(json.dumps(asdict(_train(config, folder))))
    return Trained(**json.loads(record.read_text()))


def _train(config: str, folder: Path) -> Trained:
    command = [sys.executable, "-m", "fulcrum", "train", config, "--set", "train.epochs=1"]
    at = dict.fromkeys((PREPARED, BUILT, EVALUATED), 0.0)
    before, start = cpu_of_children(), time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            at |= {mark: time.monotonic() - start for mark in at if mark.search(line)}
        process.wait()
        whole = time.monotonic() - start
        output.seek(0)
        registered = REGISTERED.search(output.read())
    assert process.returncode == 0 and registered is not None and all(at.values())
    stepping = at[EVALUATED] - at[BUILT]
    cpu = cpu_of_children() - before
    return Trained(registered[1], cpu, whole, at[PREPARED], stepping, whole - at[EVALUATED])


def cpu_of_children() -> float:
    """Seconds of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
