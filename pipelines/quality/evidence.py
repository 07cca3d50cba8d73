"""What the metrics of a run rest on."""

import numpy as np

from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.metrics import BOUNDS, Metrics
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, by_task
from fulcrum.pipelines.quality.pulls import JUDGED, interval, with_pulls
from fulcrum.pipelines.quality.units import units


def evidence(predictions: Predictions) -> Metrics:
    """How many `units` there are; of each task with two classes `positives/<task>`, a count of
    rows; and of the metric that a task is judged by the ends of its interval, `<metric>_low/<task>`
    and `<metric>_high/<task>`, none beyond what the metric can be."""
    facts: Metrics = {"units": units(predictions.column(GROUP))[0]}
    for rows in by_task(predictions):
        if TASKS[rows.task.kind].two_classes:
            facts[f"positives/{rows.task.name}"] = int(np.sum(rows.labels > 0))
    for (task, metric), samples in with_pulls(predictions, JUDGED).items():
        if ends := interval(samples):
            low, high = np.clip(ends, *BOUNDS.get(metric, (-np.inf, np.inf)))
            facts |= {f"{metric}_low/{task}": float(low), f"{metric}_high/{task}": float(high)}
    return facts
