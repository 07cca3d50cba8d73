"""What users do with a video: the planted truth.

The time of play is exponential with mean

    12 s * (duration / 20 s)^0.4 * exp(0.5 taste + 0.5 quality + hold of the topic)

and `is_click` and `long_view` follow from it by KuaiRand's own definitions (7 and 18 seconds, or
the whole video where that is shorter). Every other behaviour is a coin with chance

    sigmoid(base + a * taste + b * charm of the topic)

Topics that hold people are not those that charm them, so that a recommender has to choose.
"""

from dataclasses import dataclass

import numpy as np

from fulcrum.pipelines.ab.simulation.feed.population import TOPICS, Users, Videos

HOLD = 0.7 * np.cos(np.arange(TOPICS))
CHARM = -1.1 * np.cos(np.arange(TOPICS)) + 0.6 * np.sin(3 * np.arange(TOPICS))
COINS = {
    "is_like": (-2.0, 0.7, 1.0),
    "is_follow": (-4.0, 0.5, 0.6),
    "is_comment": (-3.4, 0.6, 0.8),
    "is_forward": (-4.2, 0.5, 0.5),
    "is_hate": (-4.6, -0.8, 0.0),
    "is_profile_enter": (-3.0, 0.5, 0.5),
    "comments_opened": (-2.4, 0.5, 0.7),
}
"""Base, weight of taste, weight of the topic's charm."""
CLICK, LONG = 7.0, 18.0
"""Seconds of play from which on a view is a click, or long."""
PROFILE, COMMENTS = 10.0, 8.0
"""Mean seconds in the author's profile and in the comments, for those who go there."""
EXPECTED = ("click", "long_view", "watch_time", *(name.removeprefix("is_") for name in COINS))
"""Columns of what is to be expected: shares, and `watch_time` in seconds."""


@dataclass(frozen=True)
class Luck:
    """What decides about each impression, whatever is shown: worlds are compared on the same."""

    play: np.ndarray
    """`(rows,)` exponential with mean 1."""
    coins: np.ndarray
    """`(rows, coins)` uniform."""
    stays: np.ndarray
    """`(rows, 2)` exponential with mean 1: in the profile and in the comments."""


def luck(random: np.random.Generator, rows: int) -> Luck:
    """For so many impressions."""
    return Luck(
        random.standard_exponential(rows),
        random.random((rows, len(COINS))),
        random.standard_exponential((rows, 2)),
    )


def respond(
    users: Users, videos: Videos, who: np.ndarray, what: np.ndarray, luck: Luck
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the log, `(rows,)` each, for users `who` shown videos `what`, and what was to be
    expected, `(rows, EXPECTED)`."""
    topic, duration = videos.topic[what], videos.duration[what]
    taste = users.taste[who, topic]
    pull = 0.5 * taste + 0.5 * videos.quality[what] + HOLD[topic]
    mean = 12 * (duration / 20) ** 0.4 * np.exp(pull)
    ends = [np.minimum(duration, end) for end in (CLICK, LONG)]
    base, a, b = np.array(list(COINS.values())).T
    chance = 1 / (1 + np.exp(-(base + a * taste[:, None] + b * CHARM[topic][:, None])))
    play = np.round(1000 * mean * luck.play)
    hits = luck.coins < chance
    coins = dict(zip(COINS, hits.astype(np.int64).T, strict=True))
    stays = np.ceil(1000 * luck.stays * [PROFILE, COMMENTS]).astype(np.int64)
    opened = coins.pop("comments_opened")
    columns = {
        "is_click": (play >= 1000 * ends[0]).astype(np.int64),
        "long_view": (play >= 1000 * ends[1]).astype(np.int64),
        **coins,
        "play_time_ms": play.astype(np.int64),
        "duration_ms": np.round(1000 * duration).astype(np.int64),
        "profile_stay_time": stays[:, 0] * coins["is_profile_enter"],
        "comment_stay_time": stays[:, 1] * opened,
    }
    views = [np.exp(-end / mean) for end in ends]
    return columns, np.column_stack([*views, mean, chance])
