"""The null experiment, with pulls of users instead of trainings."""

import numpy as np
import pytest

from benchmarks.null_comparison import deal

USERS = 300


def run(random, seed_error, users):
    """A run that a seed moves as a whole, on users that all runs share."""
    own = users + random.normal(0, 0.3, USERS)
    mean = own.mean()
    value = 0.7 + mean + random.normal(0, seed_error)
    return {("click", "auc"): np.append(value, (own - mean) / USERS)}


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_tables_of_one_network_are_dealt_from_its_runs_and_counted(seeds):
    random = np.random.default_rng(0)
    users = random.normal(0, 1, USERS)
    rate = deal([run(random, 0.1, users) for _ in range(20)], seeds, tables=20)
    assert (rate.networks, rate.tables) == (20 // seeds, 20)
    assert rate.gains == 20 * (rate.networks - 1)
    assert rate.wrong <= rate.marks
    assert rate.wrong <= 4  # above the 99 % point of 20 draws at one in twenty


def test_a_network_that_stands_apart_is_counted():
    """Two runs of one kind and two of another: a third of the tables deal each kind to a network
    of its own."""
    random = np.random.default_rng(1)
    users = random.normal(0, 1, USERS)
    runs = [run(random, 1e-3, users) for _ in range(4)]
    for far in runs[2:]:
        far["click", "auc"][0] += 10
    rate = deal(runs, 2, tables=60)
    assert 0 < rate.wrong < 60
