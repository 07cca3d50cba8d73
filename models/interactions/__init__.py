"""The field interactions: the dictionary is the list of what `model.interaction` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.interactions.base import Interaction, InteractionConfig
from models.interactions.none import NoInteractionConfig

INTERACTIONS: dict[str, type[InteractionConfig]] = {"none": NoInteractionConfig}

if TYPE_CHECKING:
    InteractionChoice = InteractionConfig
else:
    InteractionChoice = choice(INTERACTIONS)

__all__ = [
    "INTERACTIONS",
    "Interaction",
    "InteractionChoice",
    "InteractionConfig",
    "NoInteractionConfig",
]
