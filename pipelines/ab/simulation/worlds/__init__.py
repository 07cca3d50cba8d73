"""Simulated worlds, by name."""

from fulcrum.features.config import choice
from fulcrum.pipelines.ab.simulation.worlds.base import Progress, Simulated, WorldConfig
from fulcrum.pipelines.ab.simulation.worlds.feed import FeedWorld
from fulcrum.pipelines.ab.simulation.worlds.loop import LoopWorld

__all__ = ["WORLDS", "Progress", "Simulated", "WorldChoice", "WorldConfig"]

WORLDS: dict[str, type[WorldConfig]] = {
    "loop": LoopWorld,
    "feed": FeedWorld,
}
WorldChoice = choice(WORLDS)
