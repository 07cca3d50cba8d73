"""The chains: the dictionary is the list of what `model.chain` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.chains.aitm import AITMConfig
from models.chains.base import Chain, ChainConfig
from models.chains.escm2 import ESCM2Config
from models.chains.esmm import ESMMConfig

CHAINS: dict[str, type[ChainConfig]] = {
    "esmm": ESMMConfig,
    "escm2": ESCM2Config,
    "aitm": AITMConfig,
}

if TYPE_CHECKING:
    ChainChoice = ChainConfig
else:
    ChainChoice = choice(CHAINS)

__all__ = ["CHAINS", "Chain", "ChainChoice", "ChainConfig", "ESMMConfig"]
