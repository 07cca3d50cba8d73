"""A simulated world as a YAML file says it."""

from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.pipelines.ab.simulation.worlds import WorldChoice


class Simulation(Config):
    """A world and its name."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.+-]+$")
    """Of the run, and of the folder unless another is given."""
    world: WorldChoice
    """What is played."""
