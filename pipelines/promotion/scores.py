"""What a registered version makes of the rows of a prepared split, as it would be served."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
from fulcrum.features.reading.arrays import to_arrays
from fulcrum.features.transform.uses import row_reads
from fulcrum.pipelines.quality.metrics import Predictions
from fulcrum.pipelines.training.predict import row_losses
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.scoring.history import History
from fulcrum.serving.scoring.onnx_session import Session
from fulcrum.serving.scoring.scorer import Scorer

KEY = "row.key."
Scores = Mapping[str, np.ndarray]
"""`(rows,)` by score column."""


def of_shards(bundle: Bundle, dataset: PreparedDataset, split: str) -> Predictions:
    """Of every row, for a version that was made from this data set."""
    layout = bundle.state.layout
    session, parts = Session(bundle.graph, layout, "cpu"), []
    for shard in dataset.shards(split):
        names = [source.name for source in layout.inputs]
        rows = pl.scan_parquet(shard, glob=False).select(names).collect()
        parts.append(session.run(to_arrays(rows, layout)))
    scores = {n: np.concatenate([part[n] for part in parts]) for n in layout.score_columns}
    return _predictions(layout, scores, _rows(dataset, split))


def of_keys(
    bundle: Bundle, data: DataConfig, dataset: PreparedDataset, split: str
) -> tuple[Predictions, np.ndarray]:
    """Of the rows that `data.keys` tell apart, for a version that was made from other data: the raw
    rows are scored as files are, with the log as their past. Gives the places of these rows in the
    split, too; the layout has the tasks of the version that are tasks of the data set.

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
    return _predictions(layout, kept, rows[places]), places


def shared(ours: Layout, theirs: Layout) -> tuple[TaskSpec, ...]:
    """Our tasks that have the same scores there."""
    known = {(task.name, task.kind, task.classes) for task in theirs.tasks}
    return tuple(task for task in ours.tasks if (task.name, task.kind, task.classes) in known)


def only(
    predictions: Predictions, tasks: Sequence[TaskSpec], places: np.ndarray | slice = slice(None)
) -> Predictions:
    """Some tasks and rows of predictions."""
    layout = predictions.layout.model_copy(update={"tasks": tuple(tasks)})
    columns = [predictions.layout.score_columns.index(name) for name in layout.score_columns]
    names = [task.name for task in predictions.layout.tasks]
    numbers = [names.index(task.name) for task in tasks]
    return replace(
        predictions,
        layout=layout,
        scores=predictions.scores[places][:, columns],
        losses=predictions.losses[places][:, numbers],
        labels=predictions.labels[places][:, numbers],
        observed=predictions.observed[places][:, numbers],
        weight=predictions.weight[places],
        group=predictions.group[places],
        session=predictions.session[places],
    )


def _rows(dataset: PreparedDataset, split: str) -> pl.DataFrame:
    """Labels, weights, groups and keys, in the order of the shards."""
    columns = [pl.col(f"^{start}[.].*$") for start in ("label", "observed", "row")]
    return pl.scan_parquet(dataset.shards(split), glob=False).select(columns).collect()


def _predictions(layout: Layout, scores: Scores, rows: pl.DataFrame) -> Predictions:
    names = [task.name for task in layout.tasks]
    matrix = np.stack([scores[name] for name in layout.score_columns], 1)
    labels, observed = (
        rows.select(f"{what}.{name}" for name in names).to_numpy() for what in ("label", "observed")
    )
    session = rows["row.session"] if "row.session" in rows else pl.zeros(len(rows), eager=True)
    return Predictions(
        layout,
        matrix,
        np.where(observed, row_losses(layout, matrix, labels), 0.0),
        labels,
        observed,
        rows["row.weight"].to_numpy(),
        rows["row.group"].to_numpy(),
        session.to_numpy(),
    )


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
