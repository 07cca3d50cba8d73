"""Whether scores are right in each part of the rows, not only on the whole.

A segment is a value of a categorical feature. What is judged is the mean of score minus label over
its rows, by a t test whose units are users (the delta method for a ratio of sums), and p-values are
adjusted for the number of all segments and tasks (Holm, 1979).

u  user in the segment      w  weight      r  score minus label
D  Σ w r / Σ w              SE² = n / (n - 1) Σ_u (Σ_{rows of u} w (r - D))² / (Σ w)²
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from fulcrum.features.kinds.vocabulary import Vocabulary
from fulcrum.features.layout import NULL, UNKNOWN
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.tasks import TASKS
from fulcrum.pipelines.quality.predictions import GROUP, Predictions, TaskRows, by_task
from fulcrum.pipelines.quality.units import units

USERS, EVENTS = 30, 10
"""A segment of fewer users, or in which scores expect fewer events (or fewer rows without one), is
not judged: its mean is not near enough to normal."""
SCHEMA = {
    "task": pl.String,
    "feature": pl.String,
    "value": pl.String,
    "rows": pl.Int64,
    "users": pl.Int64,
    "mean_score": pl.Float64,
    "mean_label": pl.Float64,
    "p": pl.Float64,
    "adjusted": pl.Float64,
}


def segments(
    dataset: PreparedDataset, split: str, predictions: Predictions, features: Sequence[str]
) -> pl.DataFrame:
    """A row for each task with one score and each value of each feature, most doubtful first, as
    `SCHEMA` names them; without those that are too small to be judged."""
    if not features:
        return pl.DataFrame(schema=SCHEMA)
    from statsmodels.stats.multitest import multipletests

    rows = pl.scan_parquet(dataset.shards(split), glob=False).select(features).collect()
    unit = units(predictions.column(GROUP))[1]
    found = [
        {"task": of_task.task.name, "feature": feature, "value": words[value], **facts}
        for feature in features
        for words in [_words(dataset, feature)]
        for of_task in by_task(predictions)
        if of_task.scores.ndim == 1
        for value, facts in judged(
            of_task, rows[feature].to_numpy()[of_task.observed], unit[of_task.observed]
        )
    ]
    p = [facts["p"] for facts in found]
    adjusted = multipletests(p, method="holm")[1].tolist() if p else []
    table = [{**facts, "adjusted": a} for facts, a in zip(found, adjusted, strict=True)]
    return pl.DataFrame(table, schema=SCHEMA).sort("adjusted", "p", maintain_order=True)


def judged(
    rows: TaskRows, segment: np.ndarray, unit: np.ndarray
) -> Iterator[tuple[int, dict[str, float]]]:
    """The facts of each segment that is large enough; `segment` and `unit` of each row."""
    from scipy import stats

    pairs, pair = np.unique(np.stack([segment, unit]), axis=1, return_inverse=True)
    mass = np.bincount(pair, rows.weight)
    residual = np.bincount(pair, rows.weight * (rows.scores - rows.labels))
    values, of_pair = np.unique(pairs[0], return_inverse=True)
    whole, users = np.bincount(of_pair, mass), np.bincount(of_pair, mass > 0)
    expected = np.bincount(np.searchsorted(values, segment), rows.weight * rows.scores)
    counted = np.bincount(np.searchsorted(values, segment), rows.weight > 0)
    difference = np.bincount(of_pair, residual) / np.where(whole > 0, whole, 1.0)
    square = np.bincount(of_pair, (residual - mass * difference[of_pair]) ** 2)
    for place, value in enumerate(values):
        n, mean = users[place], expected[place] / max(whole[place], 1e-300)
        rarer = min(mean, 1 - mean) if TASKS[rows.task.kind].two_classes else mean
        if n < USERS or rarer * counted[place] < EVENTS or square[place] == 0:
            continue
        error = np.sqrt(n / (n - 1) * square[place]) / whole[place]
        p = 2 * stats.t.sf(abs(difference[place]) / error, n - 1)
        yield (
            int(value),
            {
                "rows": int(counted[place]),
                "users": int(n),
                "mean_score": float(mean),
                "mean_label": float(mean - difference[place]),
                "p": float(p),
            },
        )


def _words(dataset: PreparedDataset, feature: str) -> dict[int, str]:
    """What each id of a categorical feature stands for."""
    state = dataset.state
    [source] = [source for source in state.layout.ids if source.name == feature]
    lookup = state.lookups[source.table]
    rest = range(UNKNOWN + 1, lookup.rows)
    known = (
        lookup.values["value"] if isinstance(lookup, Vocabulary) else map("bucket {}".format, rest)
    )
    return {NULL: "null", UNKNOWN: "unknown", **dict(zip(rest, known, strict=True))}
