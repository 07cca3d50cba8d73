"""What to look at before training: a line for each thing that is rarely meant."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from fulcrum.features.kinds.multi import MultiConfig
from fulcrum.features.layout import DenseInput, IdInput, Input, Layout
from fulcrum.features.prepared.manifest import Manifest
from fulcrum.features.prepared.stage import JOINED, LONE
from fulcrum.features.prepared.tally import Tally
from fulcrum.features.transform.state import FeatureState

FILE = "advice.txt"
"""In the folder of a data set: the lines."""
UNKNOWN = 0.5
"""Share of unknown ids in the last split from which on a feature says little."""
FEW = 0.1
"""Share of behaviours without an impression that logs may have."""
TELLING = 0.99
"""AUC of a feature alone from which on it is taken for an outcome."""
LEAST = 20
"""Rows of either class that an AUC needs."""

Tallies = Mapping[str, Tally]
"""By split."""


def advice(
    manifest: Manifest, state: FeatureState, drift: pl.DataFrame, tallies: Tallies, repeated: int
) -> list[str]:
    """One line each. `repeated` rows say exactly what another one says."""
    return [
        *_rows(manifest, state, tallies, repeated),
        *_unknown_ids(drift),
        *_values(tallies["train"], state),
        *_outcomes(tallies, state),
    ]


def _rows(
    manifest: Manifest, state: FeatureState, tallies: Tallies, repeated: int
) -> Iterator[str]:
    total = sum(split.rows for split in manifest.splits.values())
    if repeated:
        yield (
            f"data: {repeated:,} rows say exactly what another one says; expected one for each "
            "event (`data.deduplicate: true` keeps one)"
        )
    joined, lone = (manifest.rows_dropped.get(what, 0) for what in (JOINED, LONE))
    if lone > FEW * (joined + lone):
        yield (
            f"data.pivot: {lone:,} of {joined + lone:,} behaviours follow no impression; expected "
            "`by` to tie them, and `within` to be longer than they take"
        )
    group = state.spec.data.group
    if group is not None:
        nobody = sum(tally.nobody for tally in tallies.values())
        if nobody:
            yield (
                f"data.group: {nobody:,} of {total:,} rows name nobody in `{group}` (null, NaN or "
                "empty); they are in no group of grouped AUC"
            )


def _unknown_ids(drift: pl.DataFrame) -> Iterator[str]:
    last = drift.columns[-1].rpartition(".")[2]
    if last == "train":
        return
    for name, share in drift.select("feature", f"unknown.{last}").iter_rows():
        if share is not None and share >= UNKNOWN:
            yield (
                f"features.{name}: {share:.0%} of the {last} ids are unknown; drop it, hash it "
                "(`hash_buckets`), or use attributes of what it names"
            )


def _values(train: Tally, state: FeatureState) -> Iterator[str]:
    """Numbers and ids that are all the same, and separators that never occur."""
    for name, encoder in state.spec.encoders.items():
        inputs = _inputs(name, state)
        if all(_is_single(source) and train.is_constant(source.name) for source in inputs):
            yield f"features.{name}: it is the same in every training row; drop it"
        if not isinstance(encoder, MultiConfig) or encoder.separator is None:
            continue
        if encoder.max_length > 1 and train.longest[name] == 1:
            yield (
                f"features.{name}: no value holds the separator {encoder.separator!r}, so each "
                "is one id; expected another separator, or `kind: categorical`"
            )


def _outcomes(tallies: Tallies, state: FeatureState) -> Iterator[str]:
    """Features that alone tell a label of the last split. An id counts as its rate of the label in
    training; a label that is no yes or no is one above its mean."""
    last = list(tallies)[-1]
    tasks = list(state.spec.tasks)
    if last == "train" or not tasks:
        return
    train, test = (tallies[split].examples.frame for split in ("train", last))
    means = train.select(_label(task).mean() for task in tasks).row(0, named=True)
    train, test = (
        frame.with_columns((_label(task) > means[_name(task)]).alias(_name(task)) for task in tasks)
        for frame in (train, test)
    )
    areas = {task: _areas(state.layout, _name(task), train, test) for task in tasks}
    for feature in state.spec.features:
        alone = [
            (areas[task][source.name], task)
            for source in _inputs(feature, state)
            if _is_single(source)
            for task in tasks
        ]
        area, task = max(alone, key=lambda one: one[0], default=(0.0, ""))
        if area >= TELLING:
            yield (
                f"features.{feature}: alone it tells `{task}` (AUC {area:.4f} in the {last} "
                "split); if it is known only after the event, list its column in `data.outcomes`"
            )


def _areas(layout: Layout, label: str, train: pl.DataFrame, test: pl.DataFrame) -> dict[str, float]:
    """By input with one value a row, its AUC or that of its negative, whichever is larger; 0 where
    either class has too few rows."""
    train, test = (frame.filter(pl.col(label).is_not_null()) for frame in (train, test))
    positive = test[label]
    count = int(positive.sum())
    others = len(test) - count
    ids, numbers = ([source.name for source in part] for part in (layout.ids, layout.dense))
    inputs = [*ids, *numbers]
    if not inputs or min(count, others) < LEAST:
        return dict.fromkeys(inputs, 0.0)
    rates = [_rates(train[name], train[label], test[name]) for name in ids]
    scores = test.select(inputs).with_columns(rates)
    ranks = scores.select(pl.all().rank().filter(positive).sum()).row(0, named=True)
    below = {name: total - count * (count + 1) / 2 for name, total in ranks.items()}
    shares = {name: pairs / (count * others) for name, pairs in below.items()}
    return {name: max(share, 1 - share) for name, share in shares.items()}


def _rates(ids: pl.Series, labels: pl.Series, asked: pl.Series) -> pl.Series:
    """The share of yes that each asked id has in training; of all, where it is not there."""
    places, yes = ids.to_numpy(), labels.to_numpy()
    size = max(int(places.max()), int(asked.to_numpy().max())) + 1
    uses, hits = np.bincount(places, minlength=size), np.bincount(places, yes, size)
    rates = np.where(uses > 0, hits / np.maximum(uses, 1), yes.mean())
    return pl.Series(ids.name, rates[asked.to_numpy()])


def _label(task: str) -> pl.Expr:
    """Null where it is not observed."""
    return pl.when(pl.col(f"observed.{task}")).then(pl.col(_name(task)))


def _name(task: str) -> str:
    return f"label.{task}"


def _is_single(source: Input) -> bool:
    """Whether it has one value a row."""
    return isinstance(source, IdInput | DenseInput)


def _inputs(feature: str, state: FeatureState) -> Sequence[Input]:
    encoders = state.spec.encoders
    return encoders[feature].inputs(feature, state.learned[feature], encoders)
