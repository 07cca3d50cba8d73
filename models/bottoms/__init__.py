"""The bottoms: the dictionary is the list of what `model.bottom` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.bottoms.apem import APEMConfig
from models.bottoms.base import Bottom, BottomConfig
from models.bottoms.dtrn import DTRNConfig
from models.bottoms.none import NoBottomConfig

BOTTOMS: dict[str, type[BottomConfig]] = {
    "none": NoBottomConfig,
    "dtrn": DTRNConfig,
    "apem": APEMConfig,
}

if TYPE_CHECKING:
    BottomChoice = BottomConfig
else:
    BottomChoice = choice(BOTTOMS)

__all__ = ["BOTTOMS", "Bottom", "BottomChoice", "BottomConfig", "NoBottomConfig"]
