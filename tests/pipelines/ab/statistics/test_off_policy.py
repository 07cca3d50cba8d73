"""Values of a policy from another's log, and of what that needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics.logged_policy import PSEUDO, empirical_policy, predict_rewards
from fulcrum.pipelines.ab.statistics.off_policy import doubly_robust, ips, snips

REWARD = np.array([[0.1, 0.3, 0.6], [0.5, 0.2, 0.1]])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
TARGET = np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]])
TRUTH = (REWARD * TARGET).sum(axis=1).mean()


def log(seed: int, rows: int = 2000, policy: np.ndarray = LOGGING):
    """Contexts, actions and rewards; both contexts are as likely."""
    rng = np.random.default_rng(seed)
    context = rng.integers(2, size=rows)
    action = (rng.random((rows, 1)) > policy[context].cumsum(axis=1)).sum(axis=1)
    return context, action, (rng.random(rows) < REWARD[context, action]).astype(float)


def values(seed: int, rows: int = 2000):
    context, action, rewards = log(seed, rows)
    chances = LOGGING[context, action], TARGET[context, action]
    target = empirical_policy(*reversed(log(seed + 10**6, 20_000, TARGET)[:2]))
    predicted, expected = predict_rewards(rewards, action, context, target)
    return (
        ips(rewards, *chances),
        snips(rewards, *chances),
        doubly_robust(rewards, *chances, predicted, expected),
    )


def test_the_values_by_hand():
    """w = 2, 1/2, 0; w r = 2, 0, 0."""
    rewards, logging, target = (
        np.array([1.0, 0, 1]),
        np.array([0.25, 0.5, 1]),
        np.array([0.5, 0.25, 0]),
    )
    value = ips(rewards, logging, target)
    assert value.value == pytest.approx(2 / 3)
    assert value.effective_size == pytest.approx(2.5**2 / (4 + 1 / 4))
    assert value.largest_weight == 2
    se = np.std([2, 0, 0], ddof=1) / np.sqrt(3)
    assert (value.low, value.high) == pytest.approx((2 / 3 - 1.959964 * se, 2 / 3 + 1.959964 * se))
    assert snips(rewards, logging, target).value == pytest.approx(2 / 2.5)
    predicted, expected = np.array([0.5, 0.5, 0]), np.array([0.4, 0.6, 0.2])
    by_both = doubly_robust(rewards, logging, target, predicted, expected)
    assert by_both.value == pytest.approx(np.mean([0.4 + 2 * 0.5, 0.6 - 0.5 / 2, 0.2]))


@pytest.mark.parametrize("place", range(3), ids=["ips", "snips", "doubly robust"])
def test_intervals_hold_the_true_value(place):
    """300 logs of 2,000 rows: .95 to three binomial standard errors (.0126)."""
    estimates = [values(seed)[place] for seed in range(300)]
    assert np.mean([v.low < TRUTH < v.high for v in estimates]) > 0.95 - 3 * 0.0126
    mean = np.mean([v.value for v in estimates])
    assert mean == pytest.approx(TRUTH, abs=4 * np.std([v.value for v in estimates]) / np.sqrt(300))


def test_the_model_makes_the_interval_shorter():
    plain, _, by_both = values(0, 20_000)
    assert by_both.high - by_both.low < 0.95 * (plain.high - plain.low)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_policy_valued_from_its_own_log_is_the_mean_reward(seed):
    context, action, rewards = log(seed, 200)
    logging = LOGGING[context, action]
    for value in (ips(rewards, logging, logging), snips(rewards, logging, logging)):
        assert value.value == pytest.approx(rewards.mean())
        assert value.effective_size == pytest.approx(200)
        half = 1.959964 * rewards.std(ddof=1) / np.sqrt(200)
        assert value.high - value.value == pytest.approx(half, rel=1e-6)


def test_rows_of_a_unit_count_once():
    """Each row twice under one unit is no news; each row twice on its own seems so."""
    context, action, rewards = log(3, 300)
    chances = LOGGING[context, action], TARGET[context, action]
    twice = [np.repeat(v, 2) for v in (rewards, *chances)]
    once, units = snips(rewards, *chances), np.repeat(np.arange(300), 2)
    assert snips(*twice, units).low == pytest.approx(once.low)
    assert snips(*twice).low > once.low


def test_adding_to_rewards_moves_the_self_normalised_value_alone_as_much():
    context, action, rewards = log(4)
    chances = LOGGING[context, action], TARGET[context, action]
    assert snips(rewards + 5, *chances).value == pytest.approx(snips(rewards, *chances).value + 5)
    assert ips(rewards + 5, *chances).value != pytest.approx(ips(rewards, *chances).value + 5)


@pytest.mark.parametrize("bad", [0.0, 1.5, -0.1, np.nan])
def test_impossible_propensities_are_counted(bad):
    logging = np.array([0.5, bad, 0.5, bad])
    with pytest.raises(
        DataError, match="propensities of 2 of 4 rows are not above 0 and at most 1"
    ):
        ips(np.arange(4.0), logging, np.full(4, 0.5))


@pytest.mark.parametrize(
    ("rewards", "target", "says"),
    [
        ([1.0, 0, 1], [0.5, 0.5, 1.5], "chances of 1 of 3 rows"),
        ([1.0, np.nan, 1], [0.5, 0.5, 0.5], "rewards of 1 of 3 rows"),
        ([1.0, 1, 1], [0.5, 0.5, 0.5], "rewards are constant"),
        ([1.0, 0, 1], [0.0, 0, 0], "never takes an action that was logged"),
    ],
)
def test_a_log_that_says_nothing_is_refused(rewards, target, says):
    for estimate in (ips, snips):
        with pytest.raises(DataError, match=says):
            estimate(np.array(rewards), np.full(3, 0.5), np.array(target))
    with pytest.raises(DataError, match="all rows are of one unit"):
        ips(np.array([0.0, 1]), np.ones(2), np.ones(2), units=np.zeros(2))


def test_a_policy_is_its_frequencies():
    policy = empirical_policy(np.array(["a", "b", "a", "c"]), np.array([1, 1, 1, 2]))
    np.testing.assert_allclose(policy.chance, [[2 / 3, 1 / 3, 0], [0, 0, 1]])
    chances = policy.of(np.array(["a", "c", "c", "z"]), np.array([1, 1, 2, 2]))
    np.testing.assert_allclose(chances, [2 / 3, 0, 1, 0])
    with pytest.raises(
        DataError, match="1 of 2 rows have a context that the target policy never met"
    ):
        policy.of(np.array(["a", "a"]), np.array([1, 3]))
    with pytest.raises(DataError, match="no rows"):
        empirical_policy(np.array([]), np.array([]))


def test_rewards_are_predicted_by_other_units():
    """Unit 0 has all the rewards of action `a`; what predicts them is the mean of the others, 0."""
    actions = np.array(["a", "a", "b", "b"] * 10)
    units = np.where(actions == "a", 0, np.arange(40))
    rewards = (actions == "a").astype(float)
    context = np.zeros(40, int)
    target = empirical_policy(actions, context)
    predicted, expected = predict_rewards(rewards, actions, context, target, units)
    np.testing.assert_array_equal(predicted[actions == "a"], 0)
    np.testing.assert_array_equal(expected[actions == "a"], 0)
    assert predicted[actions == "b"].max() < 0.5


def test_predictions_are_means_drawn_to_the_mean_of_all():
    """Ten rows of each of two actions, every row with a twin in another fold or not: with as many
    folds as rows, a row sees 19 others, 10 of one action and 9 of its own."""
    actions = np.repeat([0, 1], 10)
    rewards = actions.astype(float)
    target = empirical_policy(actions, np.zeros(20, int))
    predicted, expected = predict_rewards(rewards, actions, np.zeros(20, int), target, folds=20)
    mean = 10 / 19  # of those that a row of action 0 sees
    same, other = PSEUDO * mean / (9 + PSEUDO), (10 + PSEUDO * mean) / (10 + PSEUDO)
    assert predicted[0] == pytest.approx(same)
    assert expected[0] == pytest.approx((same + other) / 2)
