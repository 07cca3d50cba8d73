"""Gains and their intervals, by hand."""

from math import hypot, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fulcrum.pipelines.comparison.seesaw import Seesaw, pareto, standings, weigh_up
from fulcrum.pipelines.quality.differences import better
from fulcrum.pipelines.quality.pulls import interval, with_pulls
from tests.pipelines.quality.arrays import Arrays
from tests.pipelines.quality.scored_rows import JUDGED, KINDS, predictions


def seesaw_of(**networks: Arrays) -> Seesaw:
    """Two seeds that are alike, the first network being the single-task one."""
    samples = {name: [with_pulls(rows)] * 2 for name, rows in networks.items()}
    return weigh_up(samples, next(iter(networks)), (0, 1), KINDS, {}, {"click": 80})


def test_equal_networks_gain_exactly_nothing():
    seesaw = seesaw_of(single=predictions(), same=predictions())
    gains = [standing.gain for standing in seesaw.standings["same"].values()]
    assert len(gains) == 6
    assert {(g.value, g.low, g.high, g.mark) for g in gains} == {(0.0, 0.0, 0.0, 0)}
    assert (seesaw.rises("same"), seesaw.falls("same")) == ([], [])
    assert seesaw.mean_gain("same").value == 0
    assert seesaw.rank("same") == seesaw.rank("single") == "1-2"
    assert seesaw.comparisons == 6


def test_a_better_network_rises_and_a_worse_one_falls_on_every_task():
    seesaw = seesaw_of(
        single=predictions(), better=predictions(skill=0.9), worse=predictions(skill=0.1)
    )
    tasks = [task for task, _ in JUDGED]
    assert (seesaw.rises("better"), seesaw.falls("better")) == (tasks, [])
    assert (seesaw.rises("worse"), seesaw.falls("worse")) == ([], tasks)
    assert seesaw.ranked() == ["better", "single", "worse"]
    assert seesaw.order.first == ["better"]
    assert [seesaw.bars(name)["watch"].mark for name in ("better", "worse")] == [1, -1]
    for standing in seesaw.standings["better"].values():  # also where smaller is better
        assert standing.gain.low < standing.gain.value < standing.gain.high


def test_a_gain_is_the_mean_over_seeds_of_what_users_and_seeds_leave():
    """Two networks of three seeds: 4 degrees, 6 comparisons."""
    single, ours = (
        [with_pulls(predictions(skill=skill, seed=seed)) for seed in range(3)]
        for skill in (0.5, 0.6)
    )
    key = ("page", "log_loss")
    standing = standings({"single": single, "ours": ours}, "single", 0.1)["ours"][key]
    pairs = zip(ours, single, strict=True)
    gains = np.mean([better(a[key], b[key], "log_loss") for a, b in pairs], 0)
    assert standing.gain.value == pytest.approx(gains[0], abs=1e-15)
    assert np.mean(standing.gains) == pytest.approx(gains[0], abs=1e-15)
    level = 1 - 0.05 / 6
    ends = np.array(interval(gains, level)) - gains[0]
    own = [np.var([seed[key][0] for seed in seeds], ddof=1) for seeds in (single, ours)]
    error = np.sqrt(np.maximum(own, np.mean(own)).sum() / 3)
    half = stats.t.ppf(0.5 + level / 2, 4) * error
    expected = gains[0] - hypot(ends[0], half), gains[0] + hypot(ends[1], half)
    assert (standing.gain.low, standing.gain.high) == pytest.approx(expected, abs=1e-12)
    whole = np.mean([seed[key][0] for seed in single])
    assert standing.gain.least == pytest.approx(0.001 * whole)
    assert standing.mean == pytest.approx(np.mean(standing.values))
    assert standing.spread == pytest.approx(np.std(standing.values, ddof=1))
    assert standing.percent.value == pytest.approx(100 * gains[0] / whole)


def test_one_seed_has_an_interval_of_its_users_and_no_mark():
    samples = {
        "single": [with_pulls(predictions())],
        "better": [with_pulls(predictions(skill=0.9))],
    }
    seesaw = weigh_up(samples, "single", (0,), KINDS, {}, {})
    gains = [standing.gain for standing in seesaw.standings["better"].values()]
    assert all(g.low < g.value < g.high and g.least == inf for g in gains)
    assert (seesaw.rises("better"), seesaw.falls("better")) == ([], [])
    assert seesaw.rank("better") == seesaw.rank("single") == "1-2"


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
