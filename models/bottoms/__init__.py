"""The bottoms: the dictionary is the list of what `model.bottom` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.bottoms.apem import APEMConfig
from fulcrum.models.bottoms.base import Bottom, BottomConfig
from fulcrum.models.bottoms.dtrn import DTRNConfig
from fulcrum.models.bottoms.none import NoBottomConfig

BOTTOMS: dict[str, type[BottomConfig]] = {
    "none": NoBottomConfig,
    "dtrn": DTRNConfig,
    "apem": APEMConfig,
}
add_plugins(BOTTOMS, "bottoms", BottomConfig, "kind")

if TYPE_CHECKING:
    BottomChoice = BottomConfig
else:
    BottomChoice = choice(BOTTOMS, base=BottomConfig)

__all__ = ["BOTTOMS", "Bottom", "BottomChoice", "BottomConfig", "NoBottomConfig"]
