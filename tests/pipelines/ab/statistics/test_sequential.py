"""Looking after every user is safe, and says in the end what looking once says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.features.errors import DataError
from fulcrum.pipelines.ab.statistics import effects, sequential
from fulcrum.pipelines.ab.statistics.users import Users

SEEDS = st.integers(0, 2**32 - 1)


def arrivals(
    seed: int, users: int = 300, effect: float = 0.0, share: float = 0.5
) -> tuple[Users, np.ndarray]:
    """Clicks over impressions in treatment and control, in the order in which users came."""
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < share
    rows = 1 + rng.poisson(3, users)
    clicks = rng.binomial(rows, rng.beta(2, 8, users)) + effect * treated * rows
    return Users(clicks.astype(float), rows.astype(float)), treated


def part(users: Users, chosen: np.ndarray) -> Users:
    return Users(users.numerator[chosen], users.denominator[chosen])


def test_after_each_user_it_knows_what_those_so_far_say():
    users, treated = arrivals(0)
    path = sequential.sample_path(users, treated)
    assert path.users[-1] == 300
    for place in (0, 57, -1):
        so_far = np.arange(300) < path.users[place]
        effect = effects.compare(part(users, so_far & ~treated), part(users, so_far & treated))
        assert path.difference[place] == pytest.approx(effect.difference, rel=1e-9)
        assert path.se[place] == pytest.approx(effect.se, rel=1e-9)


def test_it_begins_when_both_arms_have_twenty():
    users, _ = arrivals(1)
    treated = np.arange(300) >= 100
    assert sequential.sample_path(users, treated).users[0] == 120
    with pytest.raises(DataError, match="100 users in control and 19 in treatment"):
        few = np.arange(300) < 119
        sequential.sample_path(part(users, few), treated[few])


def one_look(n: int, mean: float, se: float) -> sequential.SamplePath:
    columns = n, 0.0, mean, 0.6 * se, 0.8 * se
    return sequential.SamplePath(*(np.array([column]) for column in columns))


def test_the_formulas_by_hand():
    """n = 50 paired differences of variance V."""
    n, variance, mean, tau, alpha, best = 50, 2.0, 0.6, 0.3, 0.05, 40
    path = one_look(n, mean, np.sqrt(variance / n))
    total = variance + n * tau**2
    ratio = np.sqrt(variance / total) * np.exp(n**2 * tau**2 * mean**2 / (2 * variance * total))
    assert sequential.msprt(path, tau=tau) == pytest.approx([1 / ratio], rel=1e-9)
    rho = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / best
    spread = n * rho + 1
    half = np.sqrt(variance) * np.sqrt(2 * spread / (n**2 * rho) * np.log(np.sqrt(spread) / alpha))
    low, high = sequential.confidence_sequence(path, alpha, best)
    assert (low[0], high[0]) == pytest.approx((mean - half, mean + half), rel=1e-9)


LEVELS = st.sampled_from([0.2, 0.05, 0.05 / 19])


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(0, 0.3), st.sampled_from([0.5, 0.2]), LEVELS)
def test_both_or_neither_show_a_difference_at_every_look_and_level(seed, effect, share, alpha):
    """One p-value serves all levels, because the mixing variance is that of `tuned_for` alone."""
    path = sequential.sample_path(*arrivals(seed, effect=effect, share=share))
    found = sequential.running(path, alpha, 200)
    np.testing.assert_array_equal(found.p < alpha, (found.low > 0) | (found.high < 0))
    assert (np.diff(found.p) <= 0).all() and (found.low <= found.high).all()
    assert (np.diff(found.low) >= 0).all() and (np.diff(found.high) <= 0).all()


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(0, 0.3))
def test_all_looks_together_know_no_less_than_the_last(seed, effect):
    path = sequential.sample_path(*arrivals(seed, effect=effect))
    found = sequential.running(path, 0.05, 200)
    low, high = sequential.confidence_sequence(path, 0.05, 200)
    if not found.changed:
        assert found.low[-1] >= low[-1] and found.high[-1] <= high[-1]
    last = sequential.running(path.end, 0.05, 200)
    assert (last.low[0], last.high[0]) == (low[-1], high[-1])


def test_the_relative_effect_leaves_zero_where_the_difference_does():
    for seed in range(20):
        path = sequential.sample_path(*arrivals(seed, users=2000, effect=0.04))
        found = sequential.running(path, 0.05, 2000)
        clear = np.isfinite(found.relative_low)
        np.testing.assert_array_equal((found.relative_low > 0)[clear], (found.low > 0)[clear])
        assert clear[-1] and found.relative_low[-1] < 0.2 < found.relative_high[-1]


def test_looks_that_have_nothing_in_common_are_told_and_end_the_intersection():
    """One sign first, the other later: the ends stay those of the looks before."""
    users = np.array([100.0, 200.0, 300.0])
    zero, se = np.zeros(3), np.full(3, 0.1)
    path = sequential.SamplePath(users, zero, np.array([1.0, 1.0, -1.0]), se, se)
    found = sequential.running(path)
    assert found.changed
    assert (found.low[2], found.high[2], found.p[2]) == (found.low[1], found.high[1], found.p[1])
    assert found.low[2] > 0


def test_an_arm_without_variance_is_given_the_others():
    """Nobody of 500 buys: the interval is that of equal variances, and not that of one arm."""
    treated = np.arange(1000) % 2 == 1
    bought = np.where(treated, 0.0, np.random.default_rng(0).random(1000) < 0.1)
    path = sequential.sample_path(Users(bought, np.ones(1000)), treated)
    assert path.treatment_se[-1] == pytest.approx(path.control_se[-1])
    assert sequential.running(path, 0.05, 1000).high[-1] < 0


def test_looks_at_which_nobody_varies_leave_everything_open():
    """The first 200 of each arm are all alike: not even rounding may make them a claim."""
    treated = np.arange(1000) % 2 == 1
    clicks = np.where(np.arange(1000) < 400, 0.0, np.random.default_rng(0).random(1000) < 0.1)
    rows = np.full(1000, 3.0)
    path = sequential.sample_path(Users(clicks, rows), treated)
    low, high = sequential.confidence_sequence(path)
    assert path.users[0] == 2 * sequential.FEWEST and path.se.min() > 0.1 * path.se[-1]
    assert (low[:360] < 0).all() and (high[:360] > 0).all()


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 19])
def test_what_a_test_of_this_size_finds_is_found_in_four_of_five(alpha):
    """200 tests of 2,000 users: .8 to three binomial standard errors, .085."""
    users, runs = 2000, 200
    size = sequential.detectable(users, alpha, users, 0.8)
    hits = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        treated = np.arange(users) % 2 == 1
        values = rng.normal(0, 1, users) + treated * size * np.sqrt(4 / users)
        path = sequential.sample_path(Users(values, np.ones(users)), treated)
        hits += sequential.msprt(path, users)[-1] < alpha
    assert hits / runs == pytest.approx(0.8, abs=0.085)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(0, 0.2), st.integers(50, 100_000))
def test_the_sequence_holds_the_interval_of_one_look(seed, effect, tuned_for):
    users, treated = arrivals(seed, effect=effect)
    low, high = sequential.confidence_sequence(
        sequential.sample_path(users, treated), 0.05, tuned_for
    )
    fixed = effects.compare(part(users, ~treated), part(users, treated))
    assert low[-1] < fixed.low < fixed.high < high[-1]


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(1e-2, 1e2))
def test_swapping_arms_flips_it_and_scaling_scales_it(seed, factor):
    users, treated = arrivals(seed, effect=0.1)
    scaled = Users(factor * users.numerator, users.denominator)
    path, other = sequential.sample_path(users, treated), sequential.sample_path(scaled, ~treated)
    np.testing.assert_allclose(other.difference, -factor * path.difference, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(sequential.msprt(other), sequential.msprt(path), rtol=1e-7)


def test_p_never_rises_and_falls_with_more_users():
    users, treated = arrivals(2, users=4000, effect=0.05)
    p = sequential.msprt(sequential.sample_path(users, treated))
    assert (np.diff(p) <= 0).all() and p[0] > 0.5 and p[-1] < 0.01


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_looking_after_every_user_is_wrong_in_less_than_one_of_twenty(share):
    """500 tests of 4,000 users without effect; looking so without it is wrong in two of five."""
    wrong = np.zeros(4)
    for seed in range(500):
        path = sequential.sample_path(*arrivals(seed, users=4000, share=share))
        low, high = sequential.confidence_sequence(path, 0.05, 4000)
        wrong += [
            sequential.msprt(path, 4000)[-1] < 0.05,
            sequential.msprt(path, tau=0.01)[-1] < 0.05,
            ((low > 0) | (high < 0)).any(),
            (np.abs(path.difference) > 1.96 * path.se).any(),
        ]
    wrong /= 500
    assert wrong[:3].max() < 0.05
    assert wrong[3] > 0.3


def test_the_power_of_looking_grows_with_users():
    powers = []
    for size in (500, 2000, 8000):
        hits = 0
        for seed in range(200):
            users, treated = arrivals(seed, users=size, effect=0.02)
            hits += (
                sequential.msprt(sequential.sample_path(users, treated), tuned_for=2000)[-1] < 0.05
            )
        powers.append(hits / 200)
    assert powers[0] < powers[1] < powers[2] and powers[2] > 0.8
