"""What is known of a version before it is judged: numbers alone, measured on the run's own test
rows with what would be served."""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from fulcrum.features.errors import FulcrumError
from fulcrum.features.prepared.alone import LEAST, areas, columns
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.tally import ADVICE_ROWS
from fulcrum.features.tasks import TASKS
from fulcrum.features.values.duration import to_microseconds
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.promotion.gains import Gain, calibrations, gains, support
from fulcrum.pipelines.promotion.scores import of_keys, only, shared
from fulcrum.pipelines.quality.constant import constant
from fulcrum.pipelines.quality.metrics import auc
from fulcrum.pipelines.quality.predictions import Predictions, by_task
from fulcrum.pipelines.runs.graph_scores import graph_scores
from fulcrum.pipelines.runs.register import measured_split
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.publishing.resolve import ResolvedModel
from fulcrum.serving.scoring.json_rows import parse_rows
from fulcrum.serving.scoring.scorer import Scorer

CALLS = 30
"""Timed, of one row each."""


@dataclass(frozen=True)
class Duel:
    """A version against the present champion."""

    version: str
    """Of the champion."""
    gains: tuple[Gain, ...] = ()
    rows: int = 0
    """That both have scored."""
    lost: tuple[str, ...] = ()
    """Tasks of the champion that the version does not score in the same way."""
    problem: str = ""
    """Why the champion could not score the rows."""


@dataclass(frozen=True)
class Evidence:
    """Of one version."""

    split: str
    rows: int
    parity: float
    """Largest difference between ONNX Runtime and torch, noted at export."""
    latency: float
    """Median seconds for one row without a past, on a CPU."""
    gains: tuple[Gain, ...]
    """Over the constant predictor."""
    calibration: dict[str, np.ndarray] = field(default_factory=dict)
    """By task, as `gains.calibrations` gives it."""
    areas: dict[str, float] = field(default_factory=dict)
    """AUC by task with two classes, where it has rows enough to say anything."""
    alone: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By suspiciously good task, the feature that alone tells the most of it, with its AUC."""
    unripe: dict[str, float] = field(default_factory=dict)
    """By task that waits for outcomes, the share of rows whose wait is not over."""
    unknown: dict[str, float] = field(default_factory=dict)
    """By feature of ids, the share that its vocabulary does not hold."""
    duel: Duel | None = None
    """None for the first champion."""


def gather(
    config: RunConfig, dataset: PreparedDataset, bundle: Bundle, champion: ResolvedModel | None
) -> Evidence:
    """Measure a version that was made of `dataset`, beside a constant and the present champion."""
    split = measured_split(dataset)
    ours = graph_scores(bundle.graph, dataset, split)
    great = {task: area for task, area in _areas(ours).items() if area > config.promotion.auc}
    return Evidence(
        split=split,
        rows=dataset.rows(split),
        parity=max(bundle.facts["parity"].values()),
        latency=_latency(bundle),
        gains=gains(ours, constant(dataset, ours)),
        calibration=calibrations(ours),
        areas=_areas(ours),
        alone=_alone(dataset, split, list(great)),
        unripe=_unripe(dataset, split),
        unknown=_unknown(dataset, split),
        duel=None if champion is None else _duel(config, dataset, split, ours, champion),
    )


def _duel(
    config: RunConfig,
    dataset: PreparedDataset,
    split: str,
    ours: Predictions,
    champion: ResolvedModel,
) -> Duel:
    theirs = champion.bundle.state.layout
    both = shared(ours.layout, theirs)
    names = [task.name for task in both]
    lost = tuple(task.name for task in theirs.tasks if task.name not in names)
    try:
        if not both:
            return Duel(champion.version, lost=lost)
        if champion.bundle.state.fingerprint == dataset.state.fingerprint:
            scored = only(graph_scores(champion.bundle.graph, dataset, split), both)
            places: np.ndarray | slice = slice(None)
        else:
            scored, places = of_keys(champion.bundle, config.data, dataset, split)
    except FulcrumError as error:
        return Duel(champion.version, lost=lost, problem=str(error))
    rows = len(scored)
    return Duel(champion.version, gains(only(ours, both, places), scored), rows, lost)


def _latency(bundle: Bundle) -> float:
    scorer, seconds = Scorer(bundle, "cpu"), []
    scorer.warm_up()
    row = parse_rows(bundle.example, bundle.state.row_columns).head(1)
    for _ in range(CALLS):
        begin = time.perf_counter()
        scorer.predict(row)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _areas(predictions: Predictions) -> dict[str, float]:
    known = support(predictions)
    found = {
        rows.task.name: auc(rows)
        for rows in by_task(predictions)
        if TASKS[rows.task.kind].two_classes and known[rows.task.name] >= LEAST
    }
    return {task: area for task, area in found.items() if area is not None}


def _alone(dataset: PreparedDataset, split: str, tasks: list[str]) -> dict[str, tuple[str, float]]:
    """From samples of the rows; nothing is read where no task is suspicious."""
    if not tasks:
        return {}
    samples = []
    for part in ("train", split):
        step = max(1, dataset.rows(part) // ADVICE_ROWS)
        rows = pl.scan_parquet(dataset.shards(part), glob=False).select(
            columns(dataset.state.layout)
        )
        samples.append(rows.gather_every(step).collect())
    of_features = areas(dataset.state, *samples)
    best = {task: max(of_features, key=lambda f: of_features[f][task]) for task in tasks}
    return {task: (feature, of_features[feature][task]) for task, feature in best.items()}


def _unripe(dataset: PreparedDataset, split: str) -> dict[str, float]:
    """Of outcomes that are known a stated time after the event."""
    spec, end = dataset.state.spec, dataset.manifest.end
    waits = {}
    for task, outcomes in spec.unripe.items() if end is not None else ():
        stated = [spec.data.late[name].known_after for name in outcomes]
        waits[task] = max((to_microseconds(after) for after in stated if after), default=0)
    if not waits:
        return {}
    late = [(pl.col("row.time") + w > end).mean().alias(task) for task, w in waits.items()]
    return pl.scan_parquet(dataset.shards(split), glob=False).select(late).collect().to_dicts()[0]


def _unknown(dataset: PreparedDataset, split: str) -> dict[str, float]:
    if f"unknown.{split}" not in dataset.drift.columns:
        return {}
    shares = dataset.drift.select("feature", f"unknown.{split}").iter_rows()
    return {feature: share for feature, share in shares if share is not None}
