"""What a classifier of arms reads: encoded features of a prepared data set, as sparse columns."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, hstack

from fulcrum.features.declared.split import SPLITS
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.layout import DenseInput, Input
from fulcrum.features.prepared.dataset import PreparedDataset

BUCKETS = 4096
"""Columns of an id at most."""


def design_matrix(dataset: PreparedDataset, features: Sequence[str]) -> csr_matrix:
    """`(rows, columns)` float32 of the rows of all splits, in order, from their encoded features.

    Numbers are standardised. An id is one-hot; of a table with more than 4096 rows, modulo 4096,
    which keeps the most frequent values apart. A list of ids is the mean of its one-hots. Raises
    DataError for a feature that the data set lacks.
    """
    sources = [source for name in features for source in _inputs(dataset, name)]
    shards = [shard for split in SPLITS for shard in dataset.shards(split)]
    frame = pl.read_parquet(
        shards, columns=list(dict.fromkeys(source.name for source in sources)), glob=False
    )
    sizes = {table.name: table.rows for table in dataset.state.layout.tables}
    blocks = [
        _numbers(frame[source.name])
        if isinstance(source, DenseInput)
        else _one_hot(frame[source.name], min(sizes[source.table], BUCKETS))
        for source in sources
    ]
    return csr_matrix(hstack(blocks, format="csr", dtype=np.float32))


def _inputs(dataset: PreparedDataset, name: str) -> Sequence[Input]:
    state = dataset.state
    encoders = state.spec.encoders
    if name not in encoders:
        raise DataError(f"there is no feature `{name}`{nearest(name, encoders)}")
    return encoders[name].inputs(name, state.learned[name], encoders)


def _numbers(column: pl.Series) -> csr_matrix:
    values = column.to_numpy().astype(np.float64)
    return csr_matrix((values - values.mean())[:, None] / (values.std() or 1.0))


def _one_hot(column: pl.Series, width: int) -> csr_matrix:
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len().to_numpy().astype(np.int64)
        ids = column.explode(empty_as_null=False).to_numpy()
    else:
        lengths, ids = np.ones(len(column), np.int64), column.to_numpy()
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((weights, ids % width, offsets), shape=(len(column), width))
