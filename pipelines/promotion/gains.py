"""How much better one model is than another on the same rows.

Both are measured with the same users (`quality.pulls`). Two given models are compared, not two ways
to train: another seed would be another version, with a gate of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.differences import better
from fulcrum.pipelines.quality.predictions import Predictions, by_task
from fulcrum.pipelines.quality.pulls import JUDGED, interval, level_of_each, with_pulls


@dataclass(frozen=True)
class Gain:
    """On one task, in the metric that it is judged by."""

    task: str
    metric: str
    value: float
    other: float
    """Of the model that it is compared with."""
    samples: np.ndarray
    """`(1 + parts,)`, as `better` subtracts them."""
    rows: int
    """Observed; those of the rarer class where there are two."""

    def ends(self, comparisons: int = 1) -> tuple[float, float]:
        """Of the interval that holds for so many comparisons at once."""
        return ends(self.samples, comparisons)


def gains(ours: Predictions, theirs: Predictions) -> tuple[Gain, ...]:
    """By task; tasks whose metric is not defined on the rows are left out. Both score the same
    rows and tasks."""
    a, b = (with_pulls(predictions, JUDGED) for predictions in (ours, theirs))
    known = support(ours)
    return tuple(
        Gain(
            *key,
            float(a[key][0]),
            float(b[key][0]),
            better(a[key], b[key], key[1]),
            known[key[0]],
        )
        for key in a
        if key in b
    )


def support(predictions: Predictions) -> Mapping[str, int]:
    """By task, its observed rows, or those of the rarer of two classes."""
    counts = {}
    for rows in by_task(predictions):
        positives = int(np.sum(rows.labels > 0))
        few = min(positives, len(rows.labels) - positives)
        counts[rows.task.name] = few if TASKS[rows.task.kind].two_classes else len(rows.labels)
    return counts


def calibrations(predictions: Predictions) -> dict[str, np.ndarray]:
    """By task whose score stands for the mean label, mean score over mean label, with pulls.
    A score made through a transform does not, and labels below 0 have no such ratio."""
    kinds = {
        kind: ("calibration",) for kind, task in TASKS.items() if "calibration" in task.metrics
    }
    samples = with_pulls(predictions, {kind: kinds.get(kind, ()) for kind in TASKS})
    means = {
        rows.task.name
        for rows in by_task(predictions)
        if rows.task.transform == "none" and rows.labels.min(initial=0.0) >= 0 < rows.labels.sum()
    }
    return {task: values for (task, _), values in samples.items() if task in means}


def ends(samples: np.ndarray, comparisons: int = 1) -> tuple[float, float]:
    """Of the interval that holds for so many comparisons at once; infinite where there is one
    user."""
    return interval(samples, level_of_each(comparisons)) or (-np.inf, np.inf)
