"""The order of networks, and what of it is sure."""

import numpy as np
import pytest

from fulcrum.pipelines.comparison.order import FEW, put_in_order
from tests.pipelines.comparison.test_gains import sample

TASKS = {"click": "binary", "watch": "regression", "page": "multiclass"}


def network(seeds=2, **values):
    """Samples of a network in which users differ little, and seeds by 0.001."""
    random = np.random.default_rng(len(values))
    keys = {"click": "auc", "watch": "mae", "page": "accuracy"}
    return [
        {
            (task, keys[task]): sample(random.normal(0, 1e-3, 400), value + 0.001 * seed)
            for task, value in values.items()
        }
        | {("watch", "rmse"): sample(random.normal(0, 1e-3, 400), 40.0)}
        for seed in range(seeds)
    ]


def of(networks, positives=None):
    return put_in_order(networks, "single", TASKS, positives or {}, 0.1)


def test_the_mean_gain_is_in_per_cent_of_single_tasks_value():
    """(.1 / .5 - 1 / 20) / 2 = 7.5 %, with 0.001 of a second seed in both."""
    order = of({"single": network(click=0.5, watch=20.0), "other": network(click=0.6, watch=21.0)})
    assert order.tasks == ("click", "watch")
    assert order.gains["other"].value == pytest.approx(7.5, abs=0.1)
    assert order.gains["single"].value == 0
    assert list(order.gains) == list(order.ranks) == ["other", "single"]


def test_networks_that_are_clearly_apart_have_a_rank_each_and_others_share_theirs():
    order = of(
        {
            "single": network(click=0.6),
            "same": network(click=0.6),
            "best": network(click=0.8),
            "worst": network(click=0.3),
        }
    )
    assert order.ranks == {"best": (1, 1), "single": (2, 3), "same": (2, 3), "worst": (4, 4)}
    assert order.first == ["best"]


def test_one_seed_leaves_every_place_open():
    networks = {name: network(1, click=v) for name, v in (("single", 0.5), ("best", 0.9))}
    order = of(networks)
    assert order.ranks == {"best": (1, 2), "single": (1, 2)}
    assert order.gains["best"].mark == 0
    assert order.first == ["best", "single"]


def test_the_order_is_the_same_whoever_comes_first():
    networks = {"single": network(click=0.5), "a": network(click=0.7), "b": network(click=0.6)}
    backwards = dict(reversed(networks.items()))
    assert of(networks) == of(backwards)


@pytest.mark.parametrize(("rows", "counts"), [(FEW, True), (FEW - 1, False)])
def test_a_task_with_few_positive_rows_does_not_count(rows, counts):
    networks = {"single": network(click=0.5, page=0.5), "a": network(click=0.9, page=0.5)}
    order = of(networks, {"click": rows})
    assert ("click" in order.tasks) == counts
    assert (order.gains["a"].value > 1) == counts


def test_a_tail_carries_no_regression():
    """Squared errors differ by half, absolute ones do not: nothing gained."""
    single, other = network(watch=20.0), network(watch=20.0)
    for seed in other:
        seed["watch", "rmse"] = seed["watch", "rmse"] / 2
    order = of({"single": single, "other": other})
    assert abs(order.gains["other"].value) < 0.1


def test_without_a_task_that_counts_nothing_is_in_order():
    order = of({"single": network(click=0.5), "a": network(click=0.9)}, {"click": 3, "watch": 3})
    assert (order.gains, order.tasks) == ({}, ())
    assert order.ranks == {"single": (1, 2), "a": (1, 2)}
