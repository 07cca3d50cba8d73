"""How much of a label one feature tells alone."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from fulcrum.features.layout import DenseInput, IdInput, Input, Layout
from fulcrum.features.transform.state import FeatureState

LEAST = 20
"""Rows of either class that an AUC needs."""

Areas = dict[str, dict[str, float]]
"""AUC by feature and task; 0 where it cannot be told."""


def areas(state: FeatureState, train: pl.DataFrame, test: pl.DataFrame) -> Areas:
    """The AUC of each feature, or of its negative, whichever is larger, over prepared rows.

    Read are the inputs with one value a row (`columns`), and the labels. An id counts as its rate
    of the label in training; a label that is no yes or no is one above its mean there. Of several
    inputs the one that tells the most counts.
    """
    tasks = [task.name for task in state.layout.tasks]
    means = train.select(_label(task).mean() for task in tasks).row(0, named=True)
    train, test = (
        frame.with_columns((_label(task) > means[_name(task)]).alias(_name(task)) for task in tasks)
        for frame in (train, test)
    )
    of_inputs = {task: _areas(state.layout, _name(task), train, test) for task in tasks}
    return {
        feature: {
            task: max((of_inputs[task][name] for name in names), default=0.0) for task in tasks
        }
        for feature in state.spec.features
        for names in [[s.name for s in inputs(feature, state) if is_single(s)]]
    }


def columns(layout: Layout) -> list[str]:
    """Of prepared rows, those that `areas` reads."""
    labels = [f"{what}.{task.name}" for task in layout.tasks for what in ("label", "observed")]
    sources: list[Input] = [*layout.ids, *layout.dense]
    return [*(source.name for source in sources), *labels]


def inputs(feature: str, state: FeatureState) -> Sequence[Input]:
    """Those that a feature becomes."""
    encoders = state.spec.encoders
    return encoders[feature].inputs(feature, state.learned[feature], encoders)


def is_single(source: Input) -> bool:
    """Whether an input has one value a row."""
    return isinstance(source, IdInput | DenseInput)


def _areas(layout: Layout, label: str, train: pl.DataFrame, test: pl.DataFrame) -> dict[str, float]:
    """By input with one value a row, its AUC or that of its negative, whichever is larger; 0 where
    either class has too few rows."""
    train, test = (frame.filter(pl.col(label).is_not_null()) for frame in (train, test))
    positive = test[label]
    count = int(positive.sum())
    others = len(test) - count
    ids, numbers = ([source.name for source in part] for part in (layout.ids, layout.dense))
    names = [*ids, *numbers]
    if not names or min(count, others) < LEAST:
        return dict.fromkeys(names, 0.0)
    rates = [_rates(train[name], train[label], test[name]) for name in ids]
    scores = test.select(names).with_columns(rates)
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
