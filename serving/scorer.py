"""Raw rows to scores: the transform of training, then the graph."""

import difflib
import threading
from collections import Counter

import numpy as np
import polars as pl

from features.arrays import to_arrays
from features.errors import DataError, StateError
from features.layout import UNKNOWN, DenseInput, IdInput
from features.transform import transform
from serving.bundle import Bundle
from serving.rows import parse_rows
from serving.session import Device, Session


class Scorer:
    """A bundle on a device. Safe to call from several threads."""

    def __init__(
        self, bundle: Bundle, device: Device = "auto", batch_size: int | None = None
    ) -> None:
        """Raises StateError when the graph was made for another feature state, ResourceError when
        the device is missing."""
        self.bundle = bundle
        self.state = bundle.state
        self.columns = _columns(bundle)
        """Raw columns that a row must carry, keys included; null where the type is not known."""
        self.unknown: Counter[str] = Counter()
        """Ids that the vocabularies do not hold, by feature, over all rows scored so far."""
        self._lock = threading.Lock()
        self._session = Session(
            bundle.graph,
            self.state.layout,
            device,
            batch_size or bundle.serving.batch_size,
            bundle.serving.threads,
        )
        if self._session.facts.get("state") != self.state.fingerprint:
            raise StateError(
                f"{bundle.graph}: exported for another feature state than the one beside it"
            )

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self._session.device

    def warm_up(self) -> None:
        """Score the bundle's example once."""
        self._session.run(example_arrays(self.bundle))

    def score(self, rows: pl.DataFrame, past: pl.LazyFrame | None = None) -> pl.DataFrame:
        """The key columns, then one Float32 column per score, in the order of `rows`.

        `past` are raw events of any time and order; only those strictly before a row count for it.
        Raises DataError when a column is missing or does not hold what training saw."""
        rows = self._checked(rows)
        frame = transform(rows.lazy(), self.state, past).collect()
        self._count_unknown(frame)
        scores = self._session.run(to_arrays(frame, self.state.layout))
        return rows.select(self.state.keys).with_columns(
            pl.Series(name, values, dtype=pl.Float32) for name, values in scores.items()
        )

    def _checked(self, rows: pl.DataFrame) -> pl.DataFrame:
        for name in (*self.state.row_columns, *self.state.keys):
            if name not in rows.columns:
                near = difflib.get_close_matches(name, rows.columns, n=1)
                hint = f" (nearest: {near[0]!r})" if near else ""
                raise DataError(f"the rows have no column {name!r}, which the model reads{hint}")
        return rows.with_columns(
            _cast(rows[name], dtype) for name, dtype in self.state.row_columns.items()
        )

    def _count_unknown(self, frame: pl.DataFrame) -> None:
        counts = {}
        for source in self.state.layout.inputs:
            if isinstance(source, DenseInput):
                continue
            ids = frame[source.name]
            if not isinstance(source, IdInput):
                ids = ids.explode()
            counts[source.name] = int((ids == UNKNOWN).sum())
        with self._lock:
            self.unknown.update(counts)


def example_arrays(bundle: Bundle) -> dict[str, np.ndarray]:
    """The bundle's example as the graph takes it."""
    rows = parse_rows(bundle.example, bundle.state.row_columns, "example")
    return to_arrays(transform(rows.lazy(), bundle.state).collect(), bundle.state.layout)


def _cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"column {column.name!r} is {column.dtype}, and not every value becomes {dtype}, "
            f"which training saw: {str(error).splitlines()[0]}"
        ) from error
