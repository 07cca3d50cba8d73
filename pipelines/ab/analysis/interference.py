"""Do the arms make different training data? A model of P(arm | row) on what was shown.

Recommenders that are trained on the log of both arms learn from each other's traffic, so the effect
that is measured is not that of launching one of them (Si, arXiv 2310.17496; Holtz, Brennan and
Pouget-Abadie, arXiv 2309.07107). How far that can matter is seen in how well a row tells its arm.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.declared.arms import ARM as PREPARED_ARM
from fulcrum.features.declared.arms import UNIT as PREPARED_UNIT
from fulcrum.features.errors import listed
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.prepare import prepare
from fulcrum.pipelines.ab.analysis.facts import Interference, Reliability
from fulcrum.pipelines.ab.analysis.sentences import percent
from fulcrum.pipelines.ab.log import impressions
from fulcrum.pipelines.ab.log.experiment import Experiment
from fulcrum.pipelines.ab.log.staged import ARM, CONTENT, UNIT, Log
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics.users import Users
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.design_matrix import design_matrix
from fulcrum.pipelines.designs.identifying_features import lonely
from fulcrum.pipelines.designs.overlap import LEAST
from fulcrum.pipelines.designs.propensity import Propensity, fit

MOST = 50_000
"""Rows that are judged, about; of a larger log some of every unit's, as it is units that tell."""
Z = 1.96
"""Standard errors to either end of a 95 % interval."""
BINS, POINTS = 20, 10
"""Bars of the histogram and points of the reliability curve."""
TOLERANCE = 0.02
"""How far a mean weight may lie from 1."""
GAP = 0.05
"""How far a bin's observed share may lie from the predicted one."""
TELLING = 0.01
"""Share of the entropy that a feature must take away to be named."""
OWN = 0.5
"""Share of the rows with a value of their unit's own from which on a feature tells the unit."""


def panel(log: Log, units: Units, experiment: Experiment, scratch: Path) -> Interference:
    """Judge rows of the test by their arm, each by a model that did not see its unit.

    Histories and windows among the features look back on these rows alone. Raises DataError for
    features that cannot be prepared and for arms with too few units.
    """
    analysis = experiment.analysis
    assert analysis is not None and analysis.interference is not None
    dataset = _prepare(log, units, experiment, scratch)
    rows = pl.read_parquet(
        dataset.shards("train"), columns=[PREPARED_ARM, PREPARED_UNIT], glob=False
    )
    arms, who = rows[PREPARED_ARM].to_numpy(), rows[PREPARED_UNIT].to_numpy()
    names = tuple(analysis.interference.features)
    config = PropensityConfig(features=names, folds=analysis.interference.folds, seed=analysis.seed)
    model = fit(design_matrix(dataset, names), arms, who, config)
    simple = config.model_copy(update={"kind": "logistic", "calibrate": "sigmoid"})
    alone = {name: fit(design_matrix(dataset, [name]), arms, who, simple) for name in names}
    reductions = {name: max(0.0, 1 - one.log_loss / one.entropy) for name, one in alone.items()}
    apart = [name for name, one in alone.items() if one.overlap < 0.5]
    identifying = {} if experiment.unit is None else lonely(dataset, names, rows[PREPARED_UNIT])
    order = [experiment.control, *(arm for arm in experiment.arms if arm != experiment.control)]
    return describe(
        model, who, order, reductions, apart, [n for n, share in identifying.items() if share > OWN]
    )


def _prepare(log: Log, units: Units, experiment: Experiment, scratch: Path) -> PreparedDataset:
    """The rows of the test as a run would see them, in one split."""
    analysis = experiment.analysis
    assert analysis is not None and analysis.interference is not None
    rows = units.test
    if units.rows > MOST:
        rows = rows.filter(pl.col(CONTENT) % units.rows < MOST)
    file = scratch / "test.parquet"
    rows.sink_parquet(file)
    data = log.data.model_copy(update={"events": str(file)})
    return prepare(impressions.spec(data, analysis.interference.features, ARM, UNIT), scratch)


def _reliability(model: Propensity, who: np.ndarray, arm: str) -> Reliability:
    """Of the chance of an arm, in bins of equally many rows. Intervals are those of the share over
    units: all rows of a unit are of one arm."""
    place = model.names.index(arm)
    chance, mine = model.chance[:, place], (model.arm == place).astype(float)
    points = []
    for rows in np.array_split(np.argsort(chance, kind="stable"), min(POINTS, len(chance))):
        _, unit = np.unique(who[rows], return_inverse=True)
        share = Users(np.bincount(unit, mine[rows]), np.bincount(unit).astype(float))
        half = Z * share.se if len(share) > 1 else 1.0
        low, high = max(share.value - half, 0.0), min(share.value + half, 1.0)
        points.append((float(chance[rows].mean()), share.value, low, high))
    return Reliability(*zip(*points, strict=True))


def describe(
    model: Propensity,
    who: np.ndarray,
    order: list[str],
    reductions: dict[str, float],
    apart: list[str],
    identifying: list[str],
) -> Interference:
    """Numbers and words of P(arm | row).

    who: the unit of each row; order: the arms, control first; reductions: what each feature
    takes away of the entropy by itself; apart, identifying: features that tell the arm, or the
    unit, by themselves.
    """
    places = [model.names.index(arm) for arm in order]
    weights = model.weights()
    chance = model.chance[:, places[1]]
    facts = Interference(
        features=dict(sorted(reductions.items(), key=lambda one: -one[1])),
        rows=len(model.arm),
        log_loss=model.log_loss,
        entropy=model.entropy,
        auc=model.auc,
        auc_low=model.auc_low,
        auc_high=model.auc_high,
        shares={arm: float(model.shares[k]) for arm, k in zip(order, places, strict=True)},
        mean_weight={
            arm: float(weights[:, k].mean()) for arm, k in zip(order, places, strict=True)
        },
        largest_weight={
            arm: float(weights[:, k].max()) for arm, k in zip(order, places, strict=True)
        },
        effective={arm: model.effective(arm) for arm in order},
        outside=model.outside,
        overlap=model.overlap,
        histogram=tuple((np.histogram(chance, BINS, (0, 1))[0] / len(chance)).tolist()),
        reliability=_reliability(model, who, order[1]),
        sentences=(),
    )
    return replace(facts, sentences=tuple(_sentences(facts, apart, identifying)))


def _sentences(facts: Interference, apart: list[str], identifying: list[str]) -> Iterator[str]:
    alike = facts.log_loss >= facts.entropy
    if facts.auc_low is not None:
        alike = alike or facts.auc_low <= 0.5
    yield _guess(facts, alike)
    if not alike:
        yield from _differences(facts)
        yield from _positivity(facts, apart)
        yield from _calibration(facts)
    for name in identifying:
        yield (
            f"Most values of {name} belong to one unit, so it tells who the user is, whose arm "
            "never changes: leave it out of `analysis.interference.features` and ask again."
        )


def _guess(facts: Interference, alike: bool) -> str:
    guess = (
        f"A model that looks at what was shown guesses the arm of {facts.rows:,} rows with a "
        f"held-out log loss of {facts.log_loss:.4f} nats; knowing the arms' shares alone gives "
        f"{facts.entropy:.4f}"
    )
    if facts.auc is not None:
        ends = f"{facts.auc_low:.3f} to {facts.auc_high:.3f}"
        guess += f"; AUC {facts.auc:.3f} (95 % interval {ends})"
    if alike:
        return f"{guess}: the arms are not shown to make different training data."
    return (
        f"{guess}: the arms show different things. Where models are retrained on the rows of both, "
        "they learn from each other, and the effect above is not that of launching one of them."
    )


def _differences(facts: Interference) -> Iterator[str]:
    """What tells the arms apart, and what that leaves of the rows."""
    telling = [
        f"{name} ({percent(share, sign=False)})"
        for name, share in facts.features.items()
        if share >= TELLING
    ]
    if telling:
        yield (
            "What tells the arms apart, and how much of the uncertainty about the arm each takes "
            f"away by itself: {listed(telling)}."
        )
    else:
        yield "No feature tells the arms apart by itself; several together do."
    worth = [
        f"{percent(share, sign=False)} for {arm} (its own rows alone: "
        f"{percent(facts.shares[arm], sign=False)})"
        for arm, share in facts.effective.items()
    ]
    yield f"Weighted to one arm's law, all rows together are worth {listed(worth)} of them."


def _positivity(facts: Interference, apart: list[str]) -> Iterator[str]:
    if facts.overlap >= 0.5:
        return
    certain = percent(1 - facts.overlap, sign=False)
    where = "nowhere" if facts.overlap < LEAST else "in few rows"
    by = f"{listed(apart)} alone" if len(apart) == 1 else listed(apart) or "features together"
    yield (
        f"The arms overlap {where}: {certain} of the rows tell their arm for certain, kept apart "
        f"by {by}. Rows of one arm cannot stand for the other's there, so weighted training would "
        "be splitting."
    )


def _calibration(facts: Interference) -> Iterator[str]:
    """Where P(arm | row) is wrong."""
    for arm, mean in facts.mean_weight.items():
        if abs(mean - 1) > TOLERANCE:
            yield (
                f"The weights of {arm} have mean {mean:.3f} instead of 1: the guess is badly "
                "calibrated, so weights made from it would shift what is learned."
            )
    curve = facts.reliability
    bins = zip(curve.predicted, curve.observed, curve.low, curve.high, strict=True)
    wrong = [
        (guess, share)
        for guess, share, low, high in bins
        if not low <= guess <= high and abs(guess - share) > GAP
    ]
    if wrong:
        guess, share = max(wrong, key=lambda one: abs(one[0] - one[1]))
        yield (
            f"In {len(wrong)} of {len(curve.predicted)} bins of the reliability plot the guess is "
            f"off by more than {GAP:g}, at worst {guess:.2f} where {share:.2f} was observed: it is "
            "badly calibrated there."
        )
