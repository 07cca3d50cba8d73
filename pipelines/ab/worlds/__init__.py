"""Simulated worlds, by name."""

from features.config import choice
from pipelines.ab.worlds.base import Progress, Simulated, WorldConfig
from pipelines.ab.worlds.feed import FeedWorld
from pipelines.ab.worlds.loop import LoopWorld

__all__ = ["WORLDS", "Progress", "Simulated", "WorldChoice", "WorldConfig"]

WORLDS: dict[str, type[WorldConfig]] = {
    "loop": LoopWorld,
    "feed": FeedWorld,
}
WorldChoice = choice(WORLDS)
