"""The field interactions: the dictionary is the list of what `model.interaction` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.interactions.autoint import AutoIntConfig
from models.interactions.base import Interaction, InteractionConfig
from models.interactions.dcn_v2 import DCNv2Config
from models.interactions.none import NoInteractionConfig
from models.interactions.senet import SENetConfig

INTERACTIONS: dict[str, type[InteractionConfig]] = {
    "none": NoInteractionConfig,
    "dcn_v2": DCNv2Config,
    "senet": SENetConfig,
    "autoint": AutoIntConfig,
}

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
