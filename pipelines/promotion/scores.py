"""What a registered version makes of the rows of a prepared split, as it would be served."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.split import INDEX, FileSplit
from fulcrum.features.errors import DataError
from fulcrum.features.files.source import scan
from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.raw.conform import conform
from fulcrum.features.raw.pivot import impressions
from fulcrum.features.transform.uses import row_reads
from fulcrum.pipelines.quality.prediction_file import PredictionFile
from fulcrum.pipelines.quality.predictions import Predictions
from fulcrum.pipelines.runs.graph_scores import add_scores
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.scorer import Scorer

KEY = "row.key."


def of_keys(
    bundle: Bundle, data: DataConfig, dataset: PreparedDataset, split: str
) -> tuple[Predictions, np.ndarray]:
    """Of the rows that `data.keys` tell apart, for a version that was made from other data: the raw
    rows are scored as files are, with the log as their past. Gives the places of these rows in the
    split, too; the layout has the tasks of the version that are tasks of the data set. The raw rows
    and all their scores are held while they are made.

    Raises DataError when the version cannot score the log, or no row can be found in it.
    """
    keys = [KEY + name for name in dataset.state.keys]
    if not keys:
        raise DataError("`data.keys` names no columns by which to find its rows in the log")
    rows = _rows(dataset, split).with_row_index(INDEX)
    wanted = rows.select(INDEX, *keys).filter(pl.struct(keys).is_unique())
    raw = _raw(bundle, data, split, wanted.drop(INDEX))
    found = wanted.join(raw, on=keys, how="inner").sort(INDEX)
    if found.is_empty():
        raise DataError("no row of the split is found in the log by `data.keys`")
    scorer = Scorer(bundle, "cpu")
    columns = found.select(list(bundle.state.row_columns))
    if bundle.state.past_columns:
        with History(_events(data), bundle.state).gathered() as past:
            scores = scorer.predict(columns, past)
    else:
        scores = scorer.predict(columns)
    layout = dataset.state.layout.model_copy(
        update={"tasks": shared(dataset.state.layout, bundle.state.layout)}
    )
    places = found[INDEX].to_numpy()
    kept = {name: scores[name].to_numpy() for name in layout.score_columns}
    file = PredictionFile(layout, dataset.folder)
    add_scores(file, kept, rows[places])
    return file.end(), places


def shared(ours: Layout, theirs: Layout) -> tuple[TaskSpec, ...]:
    """Our tasks that have the same scores there."""
    known = {(task.name, task.kind, task.classes) for task in theirs.tasks}
    return tuple(task for task in ours.tasks if (task.name, task.kind, task.classes) in known)


@dataclass(frozen=True)
class Selection(Predictions):
    """Some tasks and rows of predictions."""

    layout: Layout
    whole: Predictions
    places: np.ndarray | slice
    """Of the rows."""

    def column(self, name: str) -> np.ndarray:
        return self.whole.column(name)[self.places]


def only(
    predictions: Predictions, tasks: Sequence[TaskSpec], places: np.ndarray | slice = slice(None)
) -> Predictions:
    """Some tasks and rows of predictions."""
    layout = predictions.layout.model_copy(update={"tasks": tuple(tasks)})
    return Selection(layout, predictions, places)


def _rows(dataset: PreparedDataset, split: str) -> pl.DataFrame:
    """Labels, weights, groups and keys, in the order of the shards."""
    columns = [pl.col(f"^{start}[.].*$") for start in ("label", "observed", "row")]
    return pl.scan_parquet(dataset.shards(split), glob=False).select(columns).collect()


def _raw(bundle: Bundle, data: DataConfig, split: str, wanted: pl.DataFrame) -> pl.DataFrame:
    """The columns that a version needs, and the keys, of those wanted rows that are in the log
    once; exact repeats are one."""
    state, pivot = bundle.state, data.pivot
    names = [name.removeprefix(KEY) for name in wanted.columns]
    read = row_reads(state, *names, *([] if pivot is None else [pivot.action]))
    events = scan(_events(data, split), "data.events", read, data.csv).frame
    events = events if pivot is None else impressions(events, pivot)
    keys = [
        pl.col(name).cast(wanted.schema[KEY + name], strict=False).alias(KEY + name)
        for name in names
    ]
    events = events.with_columns(keys).join(wanted.lazy(), on=wanted.columns, how="semi")
    events = conform(events, state.row_columns, "data.events", state.time)
    rows = events.select(*wanted.columns, *state.row_columns).collect().unique()
    return rows.filter(pl.struct(wanted.columns).is_unique())


def _events(data: DataConfig, split: str | None = None) -> list[str]:
    """The files of a split, or those of all."""
    parts: dict[str, str | tuple[str, ...]] = {"train": data.events}
    if isinstance(data.split, FileSplit):
        parts |= {name: getattr(data.split, name) for name in data.split.names[1:]}
    chosen = [parts.get(split, data.events)] if split else parts.values()
    return [file for files in chosen for file in ([files] if isinstance(files, str) else files)]
