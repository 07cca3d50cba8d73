"""The regularisers: the dictionary is the list of what `regulariser` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.regularisers.base import Look, Regulariser, RegulariserConfig
from models.regularisers.f_mtl import FMTLConfig
from models.regularisers.none import NoRegulariserConfig
from models.regularisers.rep_mtl import RepMTLConfig
from models.regularisers.sam import SAMConfig
from models.regularisers.samo import SAMOConfig

REGULARISERS: dict[str, type[RegulariserConfig]] = {
    "none": NoRegulariserConfig,
    "sam": SAMConfig,
    "f_mtl": FMTLConfig,
    "samo": SAMOConfig,
    "rep_mtl": RepMTLConfig,
}

if TYPE_CHECKING:
    RegulariserChoice = RegulariserConfig
else:
    RegulariserChoice = choice(REGULARISERS)

__all__ = [
    "REGULARISERS",
    "Look",
    "NoRegulariserConfig",
    "Regulariser",
    "RegulariserChoice",
    "RegulariserConfig",
]
