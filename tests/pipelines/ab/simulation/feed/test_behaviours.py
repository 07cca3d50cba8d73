import numpy as np
import pytest

from fulcrum.pipelines.ab.simulation.feed.behaviours import COINS, EXPECTED, luck, respond
from fulcrum.pipelines.ab.simulation.feed.population import TOPICS, users, videos

USERS = users(np.random.default_rng(0), 50)
VIDEOS = videos(np.random.default_rng(1), 80, "2022-04-08")


def many(who: int, what: int, rows: int = 200_000) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One user and one video, so many times."""
    both = np.full(rows, who), np.full(rows, what)
    return respond(USERS, VIDEOS, *both, luck(np.random.default_rng(2), rows))


@pytest.mark.parametrize(("who", "what"), [(0, 0), (7, 3), (20, 40)])
def test_users_do_what_was_to_be_expected_of_them(who, what):
    log, expected = many(who, what)
    names = {"click": "is_click", "long_view": "long_view"}
    names |= {n.removeprefix("is_"): n for n in COINS if n.startswith("is_")}
    for place, name in enumerate(EXPECTED):
        if name in names:
            p = expected[0, place]
            se = np.sqrt(p * (1 - p) / len(expected))
            assert log[names[name]].mean() == pytest.approx(p, abs=5 * se + 1e-3)
    watched = log["play_time_ms"].mean() / 1000
    assert watched == pytest.approx(expected[0, EXPECTED.index("watch_time")], rel=0.02)
    opened = (log["comment_stay_time"] > 0).mean()
    assert opened == pytest.approx(expected[0, EXPECTED.index("comments_opened")], abs=0.005)


def test_clicks_and_long_views_are_what_kuairand_calls_so():
    random = np.random.default_rng(3)
    who, what = random.integers(50, size=5000), random.integers(80, size=5000)
    log, _ = respond(USERS, VIDEOS, who, what, luck(random, 5000))
    play, length = log["play_time_ms"], log["duration_ms"]
    short, middle = length <= 7000, length <= 18000
    np.testing.assert_array_equal(log["is_click"], np.where(short, play >= length, play >= 7000))
    np.testing.assert_array_equal(log["long_view"], np.where(middle, play >= length, play >= 18000))
    assert (log["long_view"] <= log["is_click"]).all()


def test_time_is_spent_only_where_one_went():
    log, _ = many(1, 1, 5000)
    np.testing.assert_array_equal(log["profile_stay_time"] > 0, log["is_profile_enter"] == 1)
    assert 0 < (log["comment_stay_time"] > 0).mean() < 1


def test_the_same_luck_makes_the_better_liked_video_liked_wherever_the_other_is():
    """Worlds are compared on the same luck: chances order what happens row by row."""
    rows = 5000
    shared = luck(np.random.default_rng(4), rows)
    who = np.zeros(rows, int)
    logs = [respond(USERS, VIDEOS, who, np.full(rows, what), shared) for what in (0, 1)]
    (one, first), (other, second) = sorted(logs, key=lambda x: x[1][0, EXPECTED.index("like")])
    assert first[0, EXPECTED.index("like")] < second[0, EXPECTED.index("like")]
    assert (one["is_like"] <= other["is_like"]).all()


def test_tables_have_kuairands_columns():
    assert USERS.table.width == 31 and VIDEOS.table.width == 12
    assert USERS.table.columns[:2] == ["user_id", "user_active_degree"]
    assert USERS.table.columns[-1] == "onehot_feat17"
    assert set(VIDEOS.table["tag"]) <= {str(topic) for topic in range(TOPICS)}
    assert (USERS.table["onehot_feat1"].to_numpy() == USERS.group).all()
    for name in ("follow_user_num", "fans_user_num", "friend_user_num", "register_days"):
        sizes = USERS.table.group_by(f"{name}_range").len()
        assert sizes.height > 2, name
