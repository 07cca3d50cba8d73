"""Gains and their intervals, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fulcrum.features.layout import Layout, TaskSpec
from fulcrum.pipelines.comparison.seesaw import Gain, Seesaw, pareto, standings
from fulcrum.pipelines.quality.metrics import Predictions
from fulcrum.pipelines.quality.resamples import resample
from tests.pipelines.quality.test_resamples import JUDGED, KINDS, predictions


def seesaw_of(**networks: Predictions) -> Seesaw:
    """One seed, the first network being the single-task one."""
    samples = {name: [resample(rows, 40)] for name, rows in networks.items()}
    first = next(iter(networks))
    return Seesaw(first, (0,), KINDS, standings(samples, first), {})


def test_equal_networks_gain_exactly_nothing():
    seesaw = seesaw_of(single=predictions(), same=predictions())
    gains = [standing.gain for standing in seesaw.standings["same"].values()]
    assert len(gains) == 6
    assert set(gains) == {Gain(0.0, 0.0, 0.0)}
    assert (seesaw.rises("same"), seesaw.falls("same")) == ([], [])
    assert seesaw.mean_gain("same") == 0
    assert seesaw.best(("click", "auc")) == {"single", "same"}


def test_a_better_network_rises_and_a_worse_one_falls_on_every_task():
    seesaw = seesaw_of(
        single=predictions(), better=predictions(skill=0.9), worse=predictions(skill=0.1)
    )
    tasks = [task for task, _ in JUDGED]
    assert (seesaw.rises("better"), seesaw.falls("better")) == (tasks, [])
    assert (seesaw.rises("worse"), seesaw.falls("worse")) == ([], tasks)
    assert seesaw.wins("better") == tasks
    assert seesaw.ranked() == ["better", "single", "worse"]
    for standing in seesaw.standings["better"].values():  # also where smaller is better
        assert standing.gain.low < standing.gain.value < standing.gain.high


def test_seeds_are_averaged_before_the_interval_is_taken():
    single, ours = (
        [resample(predictions(skill=skill, seed=seed), 30) for seed in range(3)]
        for skill in (0.5, 0.6)
    )
    key = ("page", "log_loss")
    standing = standings({"single": single, "ours": ours}, "single")["ours"][key]
    gains = np.mean([b[key] - a[key] for a, b in zip(ours, single, strict=True)], 0)
    assert standing.gain.value == pytest.approx(gains[0], abs=1e-15)
    low, high = np.percentile(gains[1:], [2.5, 97.5])
    assert (standing.gain.low, standing.gain.high) == pytest.approx((low, high), abs=1e-15)
    assert standing.mean == pytest.approx(np.mean(standing.values))
    assert standing.spread == pytest.approx(np.std(standing.values, ddof=1))
    assert standing.percent.value == pytest.approx(
        100 * gains[0] / np.mean([s[key][0] for s in single])
    )


def test_intervals_hold_the_true_gain_as_often_as_they_say():
    """The mean of differences of 30 units, which has a known value: over 300 worlds, 95 % intervals
    hold it in 0.95 of them, give or take what few units and chance do."""
    random, held = np.random.default_rng(5), 0
    layout = Layout(tables=(), tasks=(TaskSpec(name="watch", kind="regression"),))
    group = np.repeat(np.arange(30), 4)
    for _ in range(300):
        ours = np.repeat(random.normal(size=30), 4) + random.normal(size=120)
        labels = np.zeros((120, 1))
        rest = (labels, np.ones((120, 1), bool), np.ones(120), group, np.zeros(120))
        # Errors of 10 + x against 10: the gain in mean absolute error is the mean of -x, truly 0.
        a, b = (
            resample(Predictions(layout, scores[:, None], labels, *rest))
            for scores in (10 + ours, np.full(120, 10.0))
        )
        gain = standings({"a": [a], "b": [b]}, "b")["a"]["watch", "mae"].gain
        held += gain.low <= 0 <= gain.high
    assert 0.89 < held / 300 < 0.98


def test_the_front_by_hand():
    points = np.array([[1.0, 5.0], [2.0, 4.0], [2.0, 3.0], [0.0, 5.0], [2.0, 4.0]])
    assert pareto(points).tolist() == [True, True, False, False, True]


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(0, 3)
    )
)
def test_the_front_is_what_nobody_beats(points):
    def beats(a, b):
        return all(a >= b) and any(a > b)

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert pareto(points).tolist() == expected
