"""What chance can do to a gain: by arithmetic, and by worlds whose truth is known."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from fulcrum.pipelines.comparison.gains import Gain, judge, spread
from fulcrum.pipelines.comparison.seesaw import standings
from fulcrum.pipelines.quality.pulls import level_of_each

KEYS = [(task, "auc") for task in ("a", "b", "c", "d", "e", "f")]
USERS = 400


@pytest.mark.parametrize(
    ("gain", "mark"),
    [
        (Gain(0.3, 0.1, 0.5), 1),
        (Gain(-0.3, -0.5, -0.1), -1),
        (Gain(0.3, -0.1, 0.7), 0),
        (Gain(0.3, 0.1, 0.5, 0.3), 1),
        (Gain(0.3, 0.1, 0.5, 0.31), 0),
        (Gain(-0.3, -0.5, -0.1, 0.31), 0),
        (Gain(0.3, 0.1, 0.5, inf), 0),
        (Gain(0.3, None, None), 0),
    ],
)
def test_a_mark_needs_an_interval_without_0_and_a_relevant_size(gain, mark):
    assert gain.mark == mark
    assert (gain.rises, gain.falls) == (mark == 1, mark == -1)
    assert gain.percent_of(-4.0).mark == mark


def test_the_spread_is_pooled_and_no_network_has_less():
    """Variances 2 and 8 about their means of two seeds: 5 pooled, with 2 degrees."""
    chance = spread({"a": (0.0, 2.0), "b": (1.0, 5.0)})
    assert chance.variance == {"a": 5.0, "b": 8.0}
    assert chance.degrees == 2
    expected = stats.t.ppf(0.975, 2) * sqrt((5 + 8) / 2)
    assert chance.half("a", "b", 0.95) == pytest.approx(expected)
    assert spread({"a": (0.0,), "b": (1.0,)}) is None


def test_users_and_seeds_are_joined_by_their_squares():
    """Half-widths of 3 and 4 make 5."""
    pulls = np.array([1.0, -1.0]) * 3 / (2 * stats.t.ppf(0.975, 1))
    gain = judge(np.append(7.0, pulls), 4.0, 0.95, 0.5)
    assert gain == Gain(pytest.approx(7), pytest.approx(2), pytest.approx(12), 0.5)
    alone = judge(np.append(7.0, pulls), None, 0.95, 0.5)
    assert alone == Gain(pytest.approx(7), pytest.approx(4), pytest.approx(10), inf)
    assert alone.mark == 0
    assert judge(np.array([7.0, 0.0]), 4.0, 0.95).mark == 0


def test_the_levels_of_all_gains_together_leave_one_in_twenty():
    assert level_of_each(1) == pytest.approx(0.95)
    assert 180 * (1 - level_of_each(180)) == pytest.approx(0.05)


def table(random, networks, seeds, gain=0.0, of_users=1.0, of_seeds=1.0, of_both=0.5):
    """Samples of networks of which `n0` is the control: what users make of a network beside what
    they make of all, what a seed is worth, and what single users make of it; `gain` on task a of
    `n1`. In units of the standard error of what users change."""
    error = 1 / np.sqrt(USERS)
    samples = {}
    for number in range(networks):
        taste = random.normal(0, of_users, (len(KEYS), USERS))
        samples[f"n{number}"] = [
            {
                key: sample(
                    taste[place] + random.normal(0, of_both, USERS),
                    0.7 + error * (random.normal(0, of_seeds) + gain * (number == 1 and not place)),
                )
                for place, key in enumerate(KEYS)
            }
            for _ in range(seeds)
        ]
    return samples


def sample(of_users, offset):
    mean = of_users.mean()
    return np.append(offset + mean, (of_users - mean) / USERS)


def marks(samples):
    """How many gains of a table are marked, whatever their size."""
    found = standings(samples, "n0", relevant=0)
    return sum(
        s.gain.mark != 0 for n, by_key in found.items() if n != "n0" for s in by_key.values()
    )


@pytest.mark.parametrize("networks", [2, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_no_table_of_equal_networks_is_marked_in_more_than_one_of_twenty(networks, seeds):
    """All of a table's marks are false here, whatever users and seeds make of the networks."""
    random, worlds = np.random.default_rng([networks, seeds]), 200
    wrong = sum(
        marks(table(random, networks, seeds, of_users=of_users, of_seeds=of_seeds)) > 0
        for of_users, of_seeds in ((0.0, 2.0), (1.0, 0.5))
        for _ in range(worlds // 2)
    )
    assert wrong <= stats.binom.ppf(0.999, worlds, 0.05)


def test_one_seed_marks_nothing_however_far_apart():
    samples = table(np.random.default_rng(0), 3, 1, gain=1000.0)
    assert marks(samples) == 0
    gain = standings(samples, "n0")["n1"]["a", "auc"].gain
    assert gain.low > 0


def test_a_gain_of_many_errors_is_found():
    """Twelve errors of the users', twice those of the seeds and the users together."""
    random, worlds = np.random.default_rng(5), 60
    found = 0
    for _ in range(worlds):
        standing = standings(table(random, 8, 3, gain=12.0), "n0", relevant=0)
        found += standing["n1"]["a", "auc"].gain.rises
    assert found >= stats.binom.ppf(0.001, worlds, 0.9)
