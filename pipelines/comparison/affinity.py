"""Which tasks pull the same way, from the cosines of their gradients over a training, and what
groups they fall into.

    A_st  mean over the evaluations of a training of cos(g_s, g_t), 1 on the diagonal
    d(X, Y) = mean over s in X, t in Y of 1 - A_st        average linkage

Groups are joined from single tasks upward, the closest first, as long as the mean cosine between
the two is not below 0: from there on they would pull against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from fulcrum.pipelines.training.weight_history import COSINE, Point, lines


@dataclass(frozen=True)
class Grouping:
    """Groups of tasks, and what they were made from."""

    tasks: tuple[str, ...]
    matrix: np.ndarray
    """A `(tasks, tasks)`; NaN for a pair that never had gradients at once."""
    groups: list[list[int]]
    """Places of the tasks of each group."""
    folder: Path
    """Where the matrix lies as `affinity.csv` and `affinity.svg`."""

    @property
    def names(self) -> list[list[str]]:
        """Tasks of each group."""
        return [[self.tasks[t] for t in members] for members in self.groups]

    def within(self, members: Sequence[int]) -> float | None:
        """Mean cosine between the tasks of a group; None where no pair is known."""
        return _mean([self.matrix[a, b] for a, b in combinations(members, 2)])

    def between(self, members: Sequence[int]) -> float | None:
        """Mean cosine of the tasks of a group with all others; None where no pair is known."""
        others = [t for t in range(len(self.tasks)) if t not in members]
        return _mean([self.matrix[a, b] for a in members for b in others])


def mean_cosines(tasks: Sequence[str], course: Sequence[Point]) -> np.ndarray:
    """A `(tasks, tasks)` of what a training tells; NaN for a pair that it does not."""
    evaluations = [cosines for _, cosines in lines(course, COSINE)]
    matrix = np.eye(len(tasks))
    for a, b in combinations(range(len(tasks)), 2):
        pair = f"{tasks[a]}/{tasks[b]}"
        values = [cosines[pair] for cosines in evaluations if pair in cosines]
        matrix[a, b] = matrix[b, a] = np.mean(values) if values else np.nan
    return matrix


def join(matrix: np.ndarray, count: int | None = None) -> list[list[int]]:
    """Places of the tasks of each group, the group of the first task first; `count` of them, or as
    many as the rule above leaves. A NaN counts as 0."""
    distances = 1 - np.nan_to_num(matrix)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    if count is None:
        count = len(matrix) - int((tree[:, 2] <= 1).sum())
    labels = cut_tree(tree, n_clusters=count)[:, 0]
    return [[*np.flatnonzero(labels == label)] for label in dict.fromkeys(labels)]


def _mean(cosines: Sequence[float]) -> float | None:
    known = [cosine for cosine in cosines if not np.isnan(cosine)]
    return float(np.mean(known)) if known else None
