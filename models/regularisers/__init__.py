"""The regularisers: the dictionary is the list of what `regulariser` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.regularisers.base import Look, Regulariser, RegulariserConfig
from fulcrum.models.regularisers.f_mtl import FMTLConfig
from fulcrum.models.regularisers.none import NoRegulariserConfig
from fulcrum.models.regularisers.rep_mtl import RepMTLConfig
from fulcrum.models.regularisers.sam import SAMConfig
from fulcrum.models.regularisers.samo import SAMOConfig

REGULARISERS: dict[str, type[RegulariserConfig]] = {
    "none": NoRegulariserConfig,
    "sam": SAMConfig,
    "f_mtl": FMTLConfig,
    "samo": SAMOConfig,
    "rep_mtl": RepMTLConfig,
}
add_plugins(REGULARISERS, "regularisers", RegulariserConfig, "kind")

if TYPE_CHECKING:
    RegulariserChoice = RegulariserConfig
else:
    RegulariserChoice = choice(REGULARISERS, base=RegulariserConfig)

__all__ = [
    "REGULARISERS",
    "Look",
    "NoRegulariserConfig",
    "Regulariser",
    "RegulariserChoice",
    "RegulariserConfig",
]
