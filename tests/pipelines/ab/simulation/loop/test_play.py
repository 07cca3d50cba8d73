import numpy as np
import pytest
from pydantic import ValidationError

from fulcrum.pipelines.ab.simulation.estimators.pooling import PoolingConfig
from fulcrum.pipelines.ab.simulation.estimators.snapshot import SnapshotConfig
from fulcrum.pipelines.ab.simulation.estimators.splitting import SplittingConfig
from fulcrum.pipelines.ab.simulation.estimators.weighted import WeightedConfig
from fulcrum.pipelines.ab.simulation.loop.feed import (
    FEATURES,
    WIDTH,
    finish_rate,
    mean_stay,
    visits,
)
from fulcrum.pipelines.ab.simulation.loop.play import LoopConfig, gradient, play, worlds

SMALL = LoopConfig(
    users=16, videos=4, random_steps=5, warm_steps=5, steps=20, replications=12, shares=(0.5,)
)


def test_videos_hold_their_features_where_their_length_says():
    videos = visits(np.random.default_rng(0), (4, 50), 3).videos
    long = videos[..., -1] == 1
    assert set(np.unique(videos[..., -2:].sum(-1))) == {1.0}
    assert 0.3 < long.mean() < 0.7
    np.testing.assert_array_equal(videos[long][:, :FEATURES], 0)
    np.testing.assert_array_equal(videos[~long][:, FEATURES : 2 * FEATURES], 0)
    assert np.abs(videos[..., :-2]).max() <= 0.5


@pytest.mark.parametrize(("long", "finish", "stay"), [(False, 0.8, 0.0), (True, -0.8, 0.6)])
def test_the_planted_truth(long, finish, stay):
    x = np.random.default_rng(0).random(FEATURES) - 0.5
    video = np.zeros(WIDTH, np.float32)
    video[FEATURES * long : FEATURES * (1 + long)] = x
    video[-2 + long] = 1
    j = np.arange(1, FEATURES + 1)
    weights = 1.5 * (np.sin(j) if long else np.cos(j))
    assert finish_rate(video) == pytest.approx(1 / (1 + np.exp(-(finish + x @ weights))), rel=1e-5)
    weights = np.sin(2 * j) if long else np.cos(2 * j)
    assert mean_stay(video) == pytest.approx(np.exp(stay + x @ weights), rel=1e-5)


def test_gradients_are_those_of_the_losses():
    """By finite differences: logistic loss for the first head, half the square for the second."""
    random = np.random.default_rng(0)
    x, models = random.normal(size=(9, 4)), random.normal(size=(4, 2))
    labels = np.column_stack([random.integers(2, size=9), random.normal(size=9)])
    weights = random.random(9)

    def loss(models: np.ndarray) -> float:
        p = x @ models
        first = np.logaddexp(0, p[:, 0]) - labels[:, 0] * p[:, 0]
        return float((weights * (first + (p[:, 1] - labels[:, 1]) ** 2 / 2)).mean())

    slopes = gradient(x.astype(np.float32), labels, models.astype(np.float32), weights)
    for place in np.ndindex(4, 2):
        step = np.zeros((4, 2))
        step[place] = 1e-5
        slope = (loss(models + step) - loss(models - step)) / 2e-5
        assert slopes[place] == pytest.approx(slope, abs=1e-4)


def test_processes_change_nothing():
    one, two = play(SMALL, 0.5), play(SMALL, 0.5, processes=2)
    for name in ("expected", "realised", "squared", "users"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.facts == two.facts


def test_progress_is_told_to_the_end():
    calls: list[tuple[int, int]] = []
    play(SMALL, 0.5, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(1, 2), (2, 2)]


def test_a_seed_decides_everything():
    again = play(SMALL.model_copy(update={"seed": 1}), 0.5)
    first = play(SMALL, 0.5)
    np.testing.assert_array_equal(first.realised, play(SMALL, 0.5).realised)
    assert not np.array_equal(first.realised, again.realised)


def test_every_user_is_in_one_arm():
    outcome = play(SMALL, 0.3)
    total = SMALL.users * SMALL.steps
    np.testing.assert_array_equal(outcome.users.sum((2, 3)), total)
    np.testing.assert_array_equal(outcome.users[:, 0, :, 1], 0)
    np.testing.assert_array_equal(outcome.users[:, 1, :, 0], 0)
    assert outcome.users[:, 2:, :, 0].mean() == pytest.approx(0.3 * total, rel=0.1)


def test_equal_arms_under_pooling_are_the_world_without_a_test():
    """The same models on the same users: only who is counted where differs."""
    same = SMALL.model_copy(
        update={"alpha_treatment": SMALL.alpha_control, "designs": {"pooling": PoolingConfig()}}
    )
    outcome = play(same, 0.5)
    mean = (outcome.realised * outcome.users[..., None]).sum(
        (2, 3), where=outcome.users[..., None] > 0
    )
    np.testing.assert_allclose(mean[:, 2], mean[:, 0], rtol=1e-6)
    np.testing.assert_allclose(mean[:, 1], mean[:, 0], rtol=1e-6)


def test_a_classifier_that_does_not_learn_is_pooling():
    """Weights of 1 train the same models, bit by bit."""
    designs = {"pooling": PoolingConfig(), "weighted": WeightedConfig(delay=10**6)}
    outcome = play(SMALL.model_copy(update={"designs": designs}), 0.5)
    np.testing.assert_array_equal(outcome.realised[:, 2], outcome.realised[:, 3])


def test_snapshots_do_not_learn_and_others_do():
    designs = {"snapshot": SnapshotConfig(), "splitting": SplittingConfig()}
    outcome = play(SMALL.model_copy(update={"designs": designs, "lr": 1e-12}), 0.5)
    np.testing.assert_array_equal(outcome.realised[:, 2], outcome.realised[:, 3])
    outcome = play(SMALL.model_copy(update={"designs": designs}), 0.5)
    assert not np.array_equal(outcome.realised[:, 2], outcome.realised[:, 3])


def test_instances_share_no_users():
    outcome = play(SMALL.model_copy(update={"instances": 4}), 0.5)
    assert outcome.users.shape == (12, len(worlds(SMALL)), 4, 2)
    np.testing.assert_array_equal(outcome.users.sum((2, 3)), SMALL.users * SMALL.steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": 3}, "16 users do not deal into 3 equal buckets"),
        ({"shares": (0.5, 1.0)}, "`shares` has 1"),
    ],
)
def test_impossible_loops_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        LoopConfig.model_validate({**SMALL.model_dump(), **changes})
