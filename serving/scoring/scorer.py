"""Raw rows to scores: the transform of training, then the graph."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import polars as pl

from fulcrum.features.cause import cause, first_line
from fulcrum.features.errors import DataError, StateError, nearest
from fulcrum.features.layout import UNKNOWN, DenseInput
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.misfit import misfit
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.spec import places
from fulcrum.features.transform.past import Gathered, gather
from fulcrum.features.transform.state import FeatureState, row_names
from fulcrum.features.transform.transform import Transform
from fulcrum.serving.bundle.bundle import EXAMPLE, Bundle
from fulcrum.serving.scoring.json_rows import parse_rows
from fulcrum.serving.scoring.onnx_session import Device, Session
from fulcrum.serving.scoring.stages import Stages


class Scorer:
    """A bundle on a device. Safe to call from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Batch size and threads are the bundle's own where they are left out. Raises StateError
        when the graph was made for another feature state and when that cannot read the bundle's
        example, ResourceError when the device is missing."""
        self.bundle = bundle
        self.state = bundle.state
        self.columns = tuple(dict.fromkeys((*self.state.keys, *self.state.row_columns)))
        """Columns that `score` reads."""
        self.unknown: Counter[str] = Counter()
        """Ids that the vocabularies do not hold, by feature, over all rows scored so far."""
        self.stages = Stages()
        """`encode`, the features, and `graph`."""
        self._lock = threading.Lock()
        self._session = Session(
            bundle.graph,
            self.state.layout,
            device,
            batch_size or bundle.serving.batch_size,
            threads or bundle.serving.threads,
        )
        if self._session.facts.get("state") != self.state.fingerprint:
            raise StateError(f"{bundle.graph}: not exported for the feature state beside it")
        with _readable(bundle):
            self._transform = Transform(self.state)
        example_arrays(bundle, self._transform)

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self._session.device

    def warm_up(self) -> None:
        """Score the bundle's example once, and a batch of each size."""
        self._session.run(example_arrays(self.bundle, self._transform))
        self._session.warm_up()

    def score(
        self, rows: pl.DataFrame, past: pl.LazyFrame | Gathered | None = None, first: int = 0
    ) -> pl.DataFrame:
        """The key columns, then one Float32 column per score, in the order of `rows`.

        `past` are raw events of any time and order; only those strictly before a row count for it.
        `first` is the number of the first row, from 0, for messages. Raises DataError when a column
        is missing or does not hold what training saw."""
        if not isinstance(rows, pl.DataFrame):
            raise DataError(f"expected the rows as a Polars DataFrame, got {type(rows).__name__}")
        if not isinstance(past, pl.LazyFrame | Mapping | None):
            raise DataError(f"expected past events as a LazyFrame, got {type(past).__name__}")
        for key in self.state.keys:
            if key not in rows.columns:
                raise DataError(f"the rows have no column `{key}`{nearest(key, rows.columns)}")
        return pl.DataFrame(
            [*(rows[key] for key in self.state.keys), *self.predict(rows, past, first)]
        )

    def predict(
        self, rows: pl.DataFrame, past: pl.LazyFrame | Gathered | None = None, first: int = 0
    ) -> pl.DataFrame:
        """`score` without the keys, which the rows then need not have."""
        try:
            with self.stages.stage("encode"):
                if isinstance(past, pl.LazyFrame):
                    past = gather(past, self.state) if self.state.past_columns else None
                inputs = self._transform(rows, past)
        except OSError as error:  # of the files of the past
            raise DataError(f"the past events cannot be read: {cause(error)}") from error
        except pl.exceptions.PolarsError as error:
            raise explain(error, rows, self.state, first) from error
        # Lists are padded to their longest, so arrays are made for one batch at a time.
        parts = []
        size = self._session.batch_size
        for start in range(0, max(rows.height, 1), size):
            batch = {n: v[start : start + size] for n, v in inputs.items()}
            with self.stages.stage("encode"):
                arrays = to_arrays(batch, self.state.layout)
                self._count_unknown(arrays)
            with self.stages.stage("graph"):
                parts.append(self._session.run(arrays))
        return pl.DataFrame(
            {
                n: np.concatenate([part[n] for part in parts])
                for n in self.state.layout.score_columns
            }
        )

    def _count_unknown(self, arrays: Mapping[str, np.ndarray]) -> None:
        counts = {
            source.name: int(np.count_nonzero(arrays[source.name] == UNKNOWN))
            for source in self.state.layout.inputs
            if not isinstance(source, DenseInput)
        }
        with self._lock:
            self.unknown.update(counts)


def explain(
    error: pl.exceptions.PolarsError, rows: pl.DataFrame, state: FeatureState, first: int
) -> DataError:
    """What does not fit the features, by its row where that can be told."""
    behind = {*row_names(state.spec), *state.row_needs.derived}
    wanted = [place for place in places(state.spec) if place[1] in behind]
    typed = conform(rows.lazy(), state.row_columns, time=state.time)
    if fault := misfit(typed, wanted, state.lineage, state.tables):
        return DataError(f"{fault[0]} (row {first + fault[1] + 1:,})")
    return DataError(f"the rows do not fit the features: {first_line(error)}")


def example_arrays(bundle: Bundle, transform: Transform | None = None) -> dict[str, np.ndarray]:
    """The bundle's example as the graph takes it. Raises StateError that says whether the example
    or the state is at fault."""
    try:
        rows = parse_rows(bundle.example, bundle.state.row_columns)
    except DataError as error:
        raise StateError(f"{bundle.folder / EXAMPLE}: {error}") from error
    with _readable(bundle):
        transform = transform or Transform(bundle.state)
        return to_arrays(transform(rows), bundle.state.layout)


@contextmanager
def _readable(bundle: Bundle) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a stranger's state may break anything
        place = bundle.folder / "state"
        raise StateError(f"{place}: cannot read {EXAMPLE}: {cause(error)}") from error
