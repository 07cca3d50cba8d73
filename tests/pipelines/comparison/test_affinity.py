import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum.pipelines.comparison.affinity import Grouping, join, mean_cosines


def matrix(size: int, pairs: dict[tuple[int, int], float], rest: float) -> np.ndarray:
    """Symmetric, 1 on the diagonal, `rest` where no pair says otherwise."""
    cosines = np.full((size, size), float(rest))
    np.fill_diagonal(cosines, 1)
    for (a, b), value in pairs.items():
        cosines[a, b] = cosines[b, a] = value
    return cosines


def random_matrix(size: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(size, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_two_camps_fall_apart():
    camps = matrix(5, {(0, 2): 0.9, (1, 3): 0.8, (1, 4): 0.7, (3, 4): 0.6}, rest=-0.3)
    assert join(camps) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize(("cosine", "expected"), [(0.0, [[0, 1]]), (-0.01, [[0], [1]])])
def test_groups_join_as_long_as_they_do_not_pull_against_each_other(cosine, expected):
    assert join(matrix(2, {}, rest=cosine)) == expected


def test_it_is_the_mean_cosine_that_decides():
    """Tasks 0 and 1 agree; task 2 agrees with one of them and not with the other."""
    joined = matrix(3, {(0, 1): 0.9, (0, 2): 0.5, (1, 2): -0.4}, rest=0)
    assert join(joined) == [[0, 1, 2]]
    parted = matrix(3, {(0, 1): 0.9, (0, 2): 0.4, (1, 2): -0.5}, rest=0)
    assert join(parted) == [[0, 1], [2]]


@given(st.integers(2, 8), st.integers(0, 1000), st.data())
def test_as_many_groups_as_asked_for_with_every_task_in_one(size, seed, data):
    count = data.draw(st.integers(1, size))
    joined = join(random_matrix(size, seed), count)
    assert len(joined) == count
    assert sorted(task for members in joined for task in members) == list(range(size))
    assert [members[0] for members in joined] == sorted(members[0] for members in joined)


def test_ties_do_not_join_more_than_was_asked_for():
    assert len(join(matrix(4, {}, rest=0.5), 3)) == 3


@given(st.integers(2, 7), st.integers(0, 1000))
def test_the_order_of_the_tasks_does_not_matter(size, seed):
    original = random_matrix(size, seed)
    order = np.random.default_rng(seed).permutation(size)
    there = {frozenset(order[t] for t in members) for members in join(original[order][:, order])}
    assert there == {frozenset(members) for members in join(original)}


def test_a_pair_that_was_never_seen_counts_as_0():
    assert join(matrix(2, {}, rest=math.nan)) == [[0, 1]]
    assert join(matrix(3, {(0, 1): math.nan}, rest=-0.1)) == [[0, 1], [2]]


def test_the_matrix_is_the_mean_over_a_training():
    course = [
        (5, {"cosine/a/b": 0.5}),
        (5, {"weight/a": 7.0, "weight/b": 7.0}),
        (10, {"cosine/a/b": -0.1, "cosine/b/c": -1.0}),
        (15, {"cosine/a/b": 0.2}),
    ]
    means = mean_cosines(["a", "b", "c"], course)
    mean = (0.5 - 0.1 + 0.2) / 3
    expected = np.array([[1, mean, np.nan], [mean, 1, -1], [np.nan, -1, 1]])
    np.testing.assert_allclose(means, expected, rtol=1e-12)


GROUPING = Grouping(
    ("a", "b", "c"),
    matrix(3, {(0, 2): 0.9, (0, 1): -0.5, (1, 2): math.nan}, rest=0),
    [[0, 2], [1]],
    Path(),
)


def test_means_within_a_group_and_to_the_others():
    assert GROUPING.names == [["a", "c"], ["b"]]
    assert (GROUPING.within([0, 2]), GROUPING.within([1])) == (0.9, None)
    assert (GROUPING.between([0, 2]), GROUPING.between([0, 1, 2])) == (-0.5, None)
