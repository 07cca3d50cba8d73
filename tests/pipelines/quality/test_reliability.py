import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from fulcrum.pipelines.quality.reliability import reliability


def test_by_hand():
    score = np.array([0.9, 0.1, 0.2, 0.8])
    label = np.array([1.0, 0.0, 1.0, 1.0])
    curve = reliability(score, label, np.ones(4), bins=2)
    assert curve.mean == pytest.approx([(0.1 + 0.2) / 2, (0.8 + 0.9) / 2])
    assert curve.rate == pytest.approx([1 / 2, 2 / 2])
    # Wilson at rate 1 and n = 2 is [n / (n + z²), 1].
    assert curve.low[1] == pytest.approx(2 / (2 + 1.96**2))
    assert curve.high[1] == pytest.approx(1)
    assert curve.error == pytest.approx(abs(0.15 - 0.5) / 2 + abs(0.85 - 1) / 2)


@given(
    arrays(float, st.integers(1, 60), elements=st.floats(0, 1)), st.integers(1, 12), st.randoms()
)
def test_totals_are_kept_and_rates_enclosed(score, bins, random):
    label = np.array([float(random.random() < 0.5) for _ in score])
    unit = np.array([random.randint(0, 5) for _ in score])
    for units in (None, unit):
        curve = reliability(score, label, np.ones(len(score)), units, bins)
        assert len(curve.mean) <= min(bins, len(np.unique(score)))
        assert np.all(np.diff(curve.mean) > 0)
        assert curve.rate @ curve.share == pytest.approx(label.mean())
        assert curve.mean @ curve.share == pytest.approx(score.mean())
        assert np.all((curve.low <= curve.rate) & (curve.rate <= curve.high))
        assert np.all((curve.low >= -1e-9) & (curve.high <= 1 + 1e-9))
        assert 0 <= curve.error <= 1


def test_a_row_that_weighs_nothing_is_not_seen_and_weights_have_no_unit():
    random = np.random.default_rng(0)
    score, label = random.random(40), (random.random(40) < 0.5).astype(float)
    weight = random.choice([0.0, 1.0, 3.0], 40)
    weighted = weight > 0
    seen = reliability(score, label, weight, bins=4)
    alone = reliability(score[weighted], label[weighted], 7 * weight[weighted], bins=4)
    for one, other in zip(seen, alone, strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("per_user", [1, 20])
def test_the_interval_holds_the_rate_whatever_users_have_in_common(per_user):
    """Of 300 curves of users whose labels lean the same way; by rows it would hold it in six of
    ten where a user has 20."""
    held, users = 0, 400 // per_user
    for seed in range(300):
        random = np.random.default_rng(seed)
        unit = np.repeat(np.arange(users), per_user)
        label = (random.random(len(unit)) < random.beta(1, 1, users)[unit]).astype(float)
        curve = reliability(random.random(len(unit)), label, np.ones(len(unit)), unit, bins=1)
        held += bool(curve.low[0] <= 0.5 <= curve.high[0])
    assert held >= stats.binom.ppf(0.001, 300, 0.92)
