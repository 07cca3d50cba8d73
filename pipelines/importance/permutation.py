"""Permutation importance: what a task loses when a group of features tells it nothing.

The inputs of a group are shuffled over the rows, all by the same permutation and across users, and
the rows are scored again. What the metric that a task is judged by loses is the importance of the
group for the task (Breiman, "Random Forests", Machine Learning 2001, section 10), here for each
task of one network. A row that is made so may be one that the log would never hold.

An interval holds what other users and other permutations would change. The permutations' part is
the repeats' standard error times Student's t, stretched to the level that holds for all numbers at
once as that of a normal value: so few repeats have no quantile of their own there that would leave
anything to be said. What another training would change is not in it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm
from scipy.stats import t as student
from torch import nn

from fulcrum.features.declared.session import SESSION
from fulcrum.features.errors import DataError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.reading.batch import Batch
from fulcrum.features.reading.rows import DENSE, PLACE, Columns, Cutter, Lists
from fulcrum.pipelines.importance.groups import Groups
from fulcrum.pipelines.quality.differences import Difference, better
from fulcrum.pipelines.quality.pulls import (
    JUDGED,
    LEVEL,
    Key,
    Samples,
    level_of_each,
    with_pulls,
)
from fulcrum.pipelines.training.predict import BATCH_ROWS, score
from fulcrum.pipelines.training.processes import Process

REPEATS = 3
"""Permutations of each group, the same ones for all groups."""
SCORED = 3_000_000
"""Rows scored in all, at most: minutes on two cores."""
SEED = 0
"""Of the rows that are drawn and of the permutations."""
_ORDER = "row.order"


@dataclass(frozen=True)
class Importance:
    """Of groups of features, for each task."""

    split: str
    rows: int
    """Of the split, that were measured."""
    metrics: dict[str, str]
    """By task whose metric is defined on these rows: the one that it is judged by."""
    values: dict[str, float]
    """By task: the metric of the rows as they are."""
    drops: dict[str, dict[str, Difference]]
    """By group and task: what the metric loses; above 0 the group helps. Intervals hold for all of
    them at once."""

    def share(self, group: str, task: str) -> float:
        """Of the largest loss of the task; 0 where none is above 0."""
        largest = max(drops[task].value for drops in self.drops.values())
        return self.drops[group][task].value / largest if largest > 0 else 0.0

    def ranked(self) -> list[str]:
        """Groups by their share of each task's largest loss, the largest mean over tasks first."""

        def mean(group: str) -> float:
            return float(np.mean([self.share(group, task) for task in self.metrics]))

        return sorted(self.drops, key=mean, reverse=True)


def importance(
    model: nn.Module,
    dataset: PreparedDataset,
    split: str,
    groups: Groups,
    process: Process,
    progress: Callable[[int], None],
) -> Importance:
    """Measure every group on rows of a split, as many as `SCORED` allows; `progress` is told how
    many groups are done. Leaves the network in eval mode. Raises DataError for a split without
    rows."""
    cutter, columns = draw_rows(dataset, split, SCORED // (1 + REPEATS * len(groups)))
    rows = len(columns[PLACE])

    def judge(columns: Columns) -> Samples:
        predictions = score(model, dataset, _batches(cutter, columns), process)
        return with_pulls(predictions, JUDGED)

    before = judge(columns)
    random = [np.random.default_rng([SEED, repeat]) for repeat in range(REPEATS)]
    orders = [generator.permutation(rows) for generator in random]
    drops, level = {}, level_of_each(len(groups) * len(before))
    for done, (group, inputs) in enumerate(groups.items()):
        progress(done)
        after = [judge(shuffle(columns, cutter, inputs, order)) for order in orders]
        drops[group] = {key[0]: _loss(key, before, after, level) for key in before}
    progress(len(groups))
    return Importance(
        split,
        rows,
        dict(list(before)),
        {task: float(samples[0]) for (task, _), samples in before.items()},
        drops,
    )


def draw_rows(dataset: PreparedDataset, split: str, count: int) -> tuple[Cutter, Columns]:
    """Up to so many rows of a split, those whose content has the lowest hash, in its order: neither
    which rows these are nor what a permutation does to them depends on how they lie in files."""
    if not dataset.rows(split):
        raise DataError(f"split `{split}` has no rows")
    frame = pl.scan_parquet(dataset.shards(split), glob=False)
    cutter = Cutter(dataset.state.layout, SESSION in frame.collect_schema())
    content = pl.struct(cutter.names).hash(SEED)
    rows = frame.select(*cutter.names, content.alias(_ORDER)).bottom_k(count, by=_ORDER)
    table = rows.sort(_ORDER).drop(_ORDER).with_row_index(PLACE).collect(engine="streaming")
    return cutter, cutter.read(table.cast({PLACE: pl.Int64}).to_arrow(), None)


def shuffle(
    columns: Columns, cutter: Cutter, inputs: Collection[str], order: np.ndarray
) -> Columns:
    """The same rows, but what these inputs hold is that of the rows in another order."""
    shuffled = dict(columns)
    dense, _ = cutter.stacked[DENSE]
    places = [place for place, name in enumerate(dense) if name in inputs]
    numbers = columns[DENSE]
    assert isinstance(numbers, np.ndarray)
    shuffled[DENSE] = moved = numbers.copy()
    moved[:, places] = numbers[order][:, places]
    for name in set(inputs) - set(dense):
        column = columns[name]
        shuffled[name] = column.take(order) if isinstance(column, Lists) else column[order]
    return shuffled


def _batches(cutter: Cutter, columns: Columns) -> Iterator[Batch]:
    rows = len(columns[PLACE])
    for start in range(0, rows, BATCH_ROWS):
        yield cutter.cut(columns, slice(start, min(start + BATCH_ROWS, rows)))


def _loss(key: Key, before: Samples, after: list[Samples], level: float) -> Difference:
    losses = np.stack([better(before[key], samples[key], key[1]) for samples in after])
    error = losses[:, 0].std(ddof=1) / np.sqrt(len(losses))
    stretch = norm.isf((1 - level) / 2) / norm.isf((1 - LEVEL) / 2)
    chance = student.ppf((1 + LEVEL) / 2, len(losses) - 1) * error
    return Difference.of(losses.mean(0), level, float(stretch * chance))
