"""The chains: the dictionary is the list of what `model.chain` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.chains.aitm import AITMConfig
from fulcrum.models.chains.base import Chain, ChainConfig
from fulcrum.models.chains.escm2 import ESCM2Config
from fulcrum.models.chains.esmm import ESMMConfig

CHAINS: dict[str, type[ChainConfig]] = {
    "esmm": ESMMConfig,
    "escm2": ESCM2Config,
    "aitm": AITMConfig,
}
add_plugins(CHAINS, "chains", ChainConfig, "kind")

if TYPE_CHECKING:
    ChainChoice = ChainConfig
else:
    ChainChoice = choice(CHAINS, base=ChainConfig)

__all__ = ["CHAINS", "Chain", "ChainChoice", "ChainConfig", "ESMMConfig"]
