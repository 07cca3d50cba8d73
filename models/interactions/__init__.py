"""The field interactions: the dictionary is the list of what `model.interaction` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.interactions.autoint import AutoIntConfig
from fulcrum.models.interactions.base import Interaction, InteractionConfig
from fulcrum.models.interactions.dcn_v2 import DCNv2Config
from fulcrum.models.interactions.none import NoInteractionConfig
from fulcrum.models.interactions.senet import SENetConfig

INTERACTIONS: dict[str, type[InteractionConfig]] = {
    "none": NoInteractionConfig,
    "dcn_v2": DCNv2Config,
    "senet": SENetConfig,
    "autoint": AutoIntConfig,
}
add_plugins(INTERACTIONS, "interactions", InteractionConfig, "kind")

if TYPE_CHECKING:
    InteractionChoice = InteractionConfig
else:
    InteractionChoice = choice(INTERACTIONS, base=InteractionConfig)

__all__ = [
    "INTERACTIONS",
    "Interaction",
    "InteractionChoice",
    "InteractionConfig",
    "NoInteractionConfig",
]
