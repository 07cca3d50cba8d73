"""How good the scores of a split are, per task.

Every metric weighs rows by `row.weight` and looks at rows where the task is observed. A metric that
is not defined on the rows at hand (AUC with one class, no rows at all) is None. Scores that are not
finite have no metric: they are a TrainError.

auc                 area under the ROC curve, exact, ties count half
grouped_auc         mean of the AUC within each group that has both classes, each group counting by
                    the weight of its rows (impressions); GAUC of Zhu et al., KDD 2017, equation 1;
                    rows of nobody are in none; not defined where fewer than two groups are left,
                    as without `data.group`
log_loss            mean negative log likelihood in nats
s_log_loss          mean over sessions of the mean log loss within each, a session counting once
                    however long it is; S-LogLoss of Liu et al., RMTL, WWW 2023; not defined where
                    all rows are one session, as they are without `data.session`
normalised_entropy  log loss over the entropy of the rows' own positive rate; He et al., ADKDD 2014,
                    equation 1; below 1 is better than predicting the rate
calibration         mean score over mean label; 1 is unbiased
ece                 expected calibration error, the mean distance of scores from rates in bins of
                    equal weight, see `reliability`
rmse, mae           in the label's own unit
accuracy            share of rows whose most likely class is the right one
deviance            mean Poisson deviance of the scores; 0 where each is its label
loss                mean of the task's training loss

Which metrics a task has is said by its kind, in `fulcrum.features.tasks`.

A name is `<metric>/<task>`; `<metric>` alone is its mean over the tasks that have it.
"""

from collections.abc import Callable

import numpy as np

from fulcrum.features.prepared.stage import NOBODY
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.predictions import Predictions, TaskRows, by_task
from fulcrum.pipelines.quality.reliability import reliability

Metrics = dict[str, float | None]


def measure(predictions: Predictions) -> Metrics:
    """Every metric of every task, and the mean of each metric over its tasks."""
    metrics: Metrics = {}
    for rows in by_task(predictions):
        for name in ("loss", *TASKS[rows.task.kind].metrics):
            metrics[f"{name}/{rows.task.name}"] = METRICS[name](rows) if rows.weight.sum() else None
    means: Metrics = {}
    for name in METRICS:
        values = [v for key, v in metrics.items() if key.startswith(f"{name}/") and v is not None]
        if any(key.startswith(f"{name}/") for key in metrics):
            means[name] = float(np.mean(values)) if values else None
    return means | metrics


def group_aucs(
    scores: np.ndarray, labels: np.ndarray, weight: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUC within each group and the weight of its rows, for groups with both classes.

    The Mann-Whitney statistic: the weight of pairs of a positive and a negative row that are in
    order, a tie counting half, over the weight of all such pairs. Sorted once, no loop over groups.
    """
    order = np.lexsort((scores, group))
    scores, group = scores[order], group[order]
    positive = np.where(labels[order] > 0, weight[order], 0.0)
    negative = np.where(labels[order] > 0, 0.0, weight[order])
    new_group = np.append(True, group[1:] != group[:-1])
    first = np.flatnonzero(new_group)
    tied = np.flatnonzero(new_group | np.append(True, scores[1:] != scores[:-1]))
    owner = np.cumsum(new_group)[tied] - 1
    positive_tied, negative_tied = np.add.reduceat(positive, tied), np.add.reduceat(negative, tied)
    positives, negatives = np.add.reduceat(positive, first), np.add.reduceat(negative, first)
    below = np.cumsum(negative_tied) - negative_tied
    below -= below[np.searchsorted(tied, first)][owner]
    pairs = np.bincount(owner, positive_tied * (below + 0.5 * negative_tied), len(first))
    both = (positives > 0) & (negatives > 0)
    return (pairs[both] / (positives * negatives)[both], (positives + negatives)[both])


def areas_by_group(rows: TaskRows) -> tuple[np.ndarray, np.ndarray]:
    """`group_aucs` of the groups of a task's rows; of none where there are fewer than two."""
    named = rows.group != NOBODY
    if len(np.unique(rows.group[named])) < 2:
        return np.empty(0), np.empty(0)
    places = slice(None) if named.all() else named  # no copies where nobody is nobody
    columns = (rows.scores, rows.labels, rows.weight, rows.group)
    return group_aucs(*(column[places] for column in columns))


def auc(rows: TaskRows) -> float | None:
    one_group = np.zeros(len(rows.labels), np.int64)
    areas, _ = group_aucs(rows.scores, rows.labels, rows.weight, one_group)
    return float(areas[0]) if len(areas) else None


def grouped_auc(rows: TaskRows) -> float | None:
    areas, weight = areas_by_group(rows)
    return float(np.average(areas, weights=weight)) if len(areas) else None


def loss(rows: TaskRows) -> float:
    return _mean(rows, rows.losses)


def s_log_loss(rows: TaskRows) -> float | None:
    sessions, number = np.unique(rows.session, return_inverse=True)
    if len(sessions) < 2:
        return None
    weight = np.bincount(number, rows.weight)
    total = np.bincount(number, rows.weight * rows.losses)
    return float(np.mean(total[weight > 0] / weight[weight > 0]))


def normalised_entropy(rows: TaskRows) -> float | None:
    rate = _mean(rows, rows.labels)
    if not 0 < rate < 1:
        return None
    return loss(rows) / float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))


def calibration(rows: TaskRows) -> float | None:
    mean = _mean(rows, rows.labels)
    return _mean(rows, rows.scores) / mean if mean else None


def ece(rows: TaskRows) -> float:
    return reliability(rows.scores, rows.labels, rows.weight).error


def rmse(rows: TaskRows) -> float:
    return float(np.sqrt(_mean(rows, (rows.scores - rows.labels) ** 2)))


def absolute_error(rows: TaskRows) -> np.ndarray:
    return np.abs(rows.scores - rows.labels)


def hit(rows: TaskRows) -> np.ndarray:
    return (rows.scores.argmax(1) == rows.labels).astype(float)


def _mean_of(of_row: Callable[[TaskRows], np.ndarray]) -> Callable[[TaskRows], float]:
    return lambda rows: _mean(rows, of_row(rows))


def _mean(rows: TaskRows, values: np.ndarray) -> float:
    return float(np.average(values, weights=rows.weight))


MEANS: dict[str, Callable[[TaskRows], np.ndarray]] = {"mae": absolute_error, "accuracy": hit}
"""By metric that is a mean over rows and not that of the losses: its value for each row."""
METRICS: dict[str, Callable[[TaskRows], float | None]] = {
    "auc": auc,
    "grouped_auc": grouped_auc,
    "log_loss": loss,
    "s_log_loss": s_log_loss,
    "normalised_entropy": normalised_entropy,
    "calibration": calibration,
    "ece": ece,
    "rmse": rmse,
    **{name: _mean_of(of_row) for name, of_row in MEANS.items()},
    "deviance": loss,
    "loss": loss,
}
HIGHER_IS_BETTER = frozenset({"auc", "grouped_auc", "accuracy"})
BOUNDS = {
    **dict.fromkeys(("rmse", "mae", "deviance"), (0.0, np.inf)),
    **dict.fromkeys(HIGHER_IS_BETTER, (0.0, 1.0)),
}
"""What a metric can be, where that has an end."""
