"""Users and videos of the feed: what the recommender sees of them, and what it does not."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

TOPICS, GROUPS, SLOTS = 12, 7, 6
"""Topics of videos, groups of users with like tastes, and parts of a day, four hours each."""
HOURS = np.array([0.25, 0.3, 0.8, 1.3, 1.2, 2.15])
"""How busy each part of the day is, mean 1: evenings are, nights are not."""
DEGREES = ("low_active", "middle_active", "high_active", "full_active")


@dataclass(frozen=True)
class Users:
    """Who there is, one entry a user."""

    table: pl.DataFrame
    """The columns of KuaiRand's `user_features`."""
    group: np.ndarray
    """`(users,)` ints; `onehot_feat1` in the table."""
    taste: np.ndarray
    """`(users, TOPICS)`: that of the group, and what is the user's own, which nobody sees."""
    active: np.ndarray
    """`(users, SLOTS)` chance of a session in each part of a day."""


@dataclass(frozen=True)
class Videos:
    """What there is to watch, one entry a video."""

    table: pl.DataFrame
    """The columns of KuaiRand's `video_features_basic`."""
    topic: np.ndarray
    """`(videos,)` ints; `tag` in the table."""
    quality: np.ndarray
    """`(videos,)` standard normal; nobody sees it."""
    duration: np.ndarray
    """`(videos,)` seconds."""


def users(random: np.random.Generator, number: int) -> Users:
    """So many users with ids from 0."""
    group = random.integers(GROUPS, size=number)
    taste = random.normal(size=(GROUPS, TOPICS))[group] + 0.6 * random.normal(size=(number, TOPICS))
    busy = np.exp(random.normal(-0.15, 0.55, size=number))
    active = np.clip(0.25 * busy[:, None] * HOURS, 0, 0.95)
    follows, fans, friends = (random.lognormal(mean, 1.2, number) for mean in (3.4, 1.2, 2.0))
    days = 8 + random.exponential(700, number)
    degree = np.digitize(busy, [0.5, 0.85, 1.4])
    table = pl.DataFrame(
        {
            "user_id": np.arange(number),
            "user_active_degree": [DEGREES[d] for d in degree],
            "is_lowactive_period": (busy < 0.4).astype(int),
            "is_live_streamer": (random.random(number) < 0.02).astype(int),
            "is_video_author": (random.random(number) < 0.3).astype(int),
            "follow_user_num": follows.astype(int),
            "follow_user_num_range": _ranges(follows, (0, 10, 50, 100, 150, 250, 500), "({},{}]"),
            "fans_user_num": fans.astype(int),
            "fans_user_num_range": _ranges(fans, (0, 1, 10, 100, 1000, 5000), "[{},{})"),
            "friend_user_num": friends.astype(int),
            "friend_user_num_range": _ranges(friends, (0, 1, 5, 30, 60, 120, 250), "[{},{})"),
            "register_days": days.astype(int),
            "register_days_range": _ranges(days, (8, 15, 31, 61, 91, 181, 366, 730), "{}-{}"),
            "onehot_feat0": random.integers(2, size=number),
            "onehot_feat1": group,
            **{
                f"onehot_feat{place}": random.integers(values, size=number)
                for place, values in enumerate(ONEHOT, 2)
            },
        }
    )
    return Users(table, group, taste.astype(np.float32), active)


ONEHOT = (50, 1471, 15, 34, 3, 118, 454, 7, 5, 5, 2, 2, 2, 2, 2, 2)
"""Values of KuaiRand's encrypted columns from the third on; here they mean nothing."""


def videos(random: np.random.Generator, number: int, day: str) -> Videos:
    """So many videos with ids from 0, uploaded on that day."""
    topic = random.integers(TOPICS, size=number)
    duration = np.clip(np.exp(random.normal(np.log(20), 0.9, size=number)), 3, 300)
    tall = random.random(number) < 0.8
    table = pl.DataFrame(
        {
            "video_id": np.arange(number),
            "author_id": random.integers(max(1, number // 4), size=number),
            "video_type": ["NORMAL"] * number,
            "upload_dt": [day] * number,
            "upload_type": random.choice(["LongImport", "ShortImport", "Web"], number).tolist(),
            "visible_status": np.ones(number, int),
            "video_duration": (1000 * duration).astype(int),
            "server_width": np.where(tall, 720, 1280),
            "server_height": np.where(tall, 1280, 720),
            "music_id": random.integers(max(1, number // 2), size=number),
            "music_type": random.choice([4, 9, 11], number),
            "tag": topic.astype(str),
        }
    )
    return Videos(table, topic, random.normal(size=number), (1000 * duration).astype(int) / 1000)


def _ranges(values: np.ndarray, edges: tuple[int, ...], form: str) -> list[str]:
    """The range that each value lies in, as KuaiRand spells it; the last one is open."""
    names = [form.format(low, high) for low, high in pairwise(edges)]
    places = np.clip(np.digitize(values.astype(int), edges) - 1, 0, len(edges) - 1)
    return [[*names, f"{edges[-1]}+"][place] for place in places]
