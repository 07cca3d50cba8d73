"""The units behind the rows of a split, by which it is said how sure a number is."""

import numpy as np

from fulcrum.features.prepared.stage import NOBODY


def units(group: np.ndarray) -> tuple[int, np.ndarray]:
    """How many there are, and which of them each row belongs to: its group, or the row itself where
    it is nobody's, and where all rows are of one group."""
    named = group != NOBODY
    names, of_named = np.unique(group[named], return_inverse=True)
    if len(names) < 2:
        return len(group), np.arange(len(group))
    count = len(names) + len(group) - len(of_named)
    unit = np.empty(len(group), np.int64)
    unit[named], unit[~named] = of_named, np.arange(len(names), count)
    return count, unit
