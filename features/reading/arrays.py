"""Encoded rows as numpy arrays: the inputs of the exported graph."""

import numpy as np
import polars as pl

from fulcrum.features.kinds.base import Columns
from fulcrum.features.layout import PADDING, DenseInput, IdInput, Layout


def to_arrays(columns: Columns | pl.DataFrame, layout: Layout) -> dict[str, np.ndarray]:
    """One array per input: ids int64 `(batch,)`; bags and sequences int64 `(batch, max_length)`,
    padded behind with -1; dense float32 `(batch,)`."""
    arrays = {}
    for source in layout.inputs:
        column = columns[source.name]
        if isinstance(source, DenseInput):
            arrays[source.name] = np.asarray(column, np.float32)
        elif isinstance(source, IdInput):
            arrays[source.name] = np.asarray(column, np.int64)
        else:
            assert isinstance(column, pl.Series)
            arrays[source.name] = pad(column, source.max_length)
    return arrays


def pad(lists: pl.Series, length: int) -> np.ndarray:
    """Lists of ids, none longer than `length`, as int64 `(batch, length)`."""
    array = lists.to_arrow()
    offsets, ids = array.offsets.to_numpy(), array.values.to_numpy()
    padded = np.full((len(lists), length), PADDING, np.int64)
    padded[np.arange(length) < np.diff(offsets)[:, None]] = ids[offsets[0] : offsets[-1]]
    return padded
