"""Preparation of raw logs: reading, fitting, transforming, writing shards."""

import shutil
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure, per_second
from benchmarks.frames import prepare_frames
from benchmarks.logs import Size, make_run, write_logs
from benchmarks.memory import peak
from benchmarks.rounds import Action, interleave
from fulcrum.features.prepared import prepare as preparation
from fulcrum.features.prepared.prepare import prepare

PLAIN, LOOKING_BACK = (
    "preparation: 26 ids, 13 numbers, 3 labels",
    "preparation, with 3 windows and a history of 50",
)
BUCKETS = 16
"""That a log of as many times the rows would be dealt to."""
DEALT = f"the same, dealt to {BUCKETS} buckets"
FRAMES = "the same ids, numbers and labels to arrays, pandas and scikit-learn"


def plain(folder: Path, size: Size) -> list[Figure]:
    """Make the logs and prepare them; what is prepared last stays for the other benchmarks."""
    write_logs(folder, size)

    def frames() -> float:
        return len(prepare_frames(folder)[0])

    action = _action(folder, size, looking_back=False)
    memory = _peak(PLAIN, action)
    rates = interleave(size.repeats, {FRAMES: frames, PLAIN: action})
    figure = per_second(rates, PLAIN, limit=FRAMES, aim=2.0)
    return [figure, memory, per_second(rates, FRAMES)]


def looking_back(folder: Path, size: Size) -> list[Figure]:
    """Prepare the same logs with features of the past, and without."""
    action = _action(folder, size, looking_back=True)
    memory = _peak(LOOKING_BACK, action)
    both = {LOOKING_BACK: action, PLAIN: _action(folder, size, looking_back=False)}
    rates = interleave(size.repeats, both)
    return [per_second(rates, LOOKING_BACK, limit=PLAIN, aim=0.5), memory]


def dealt(folder: Path, size: Size) -> list[Figure]:
    """Prepare with features of the past in many buckets, and in one: a row should cost the same."""
    one = _action(folder, size, looking_back=True)

    def many() -> float:
        with patch.object(preparation, "EVENTS_PER_PART", -(-size.rows // BUCKETS)):
            return one()

    rates = interleave(size.repeats, {LOOKING_BACK: one, DEALT: many})
    return [per_second(rates, DEALT, limit=LOOKING_BACK, aim=0.8)]


def _action(folder: Path, size: Size, looking_back: bool) -> Action:
    run = make_run(folder, size, looking_back=looking_back)
    workspace = Path(run.workspace)

    def action() -> float:
        shutil.rmtree(workspace, ignore_errors=True)
        prepare(run, workspace)
        return size.rows

    return action


def _peak(what: str, action: Action) -> Figure:
    """Of the first time, before anything else has filled this process."""
    action()
    return peak(what)
