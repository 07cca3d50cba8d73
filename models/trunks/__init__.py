"""The architectures: the dictionary is the list of what `model.architecture` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.trunks.adatt import AdaTTConfig
from fulcrum.models.trunks.base import Trunk, TrunkConfig
from fulcrum.models.trunks.cross_stitch import CrossStitchConfig
from fulcrum.models.trunks.home import HoMEConfig
from fulcrum.models.trunks.ml_mmoe import MLMMoEConfig
from fulcrum.models.trunks.mmoe import MMoEConfig, OMoEConfig
from fulcrum.models.trunks.pepnet import PEPNetConfig
from fulcrum.models.trunks.ple import PLEConfig
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.models.trunks.single_task import SingleTaskConfig
from fulcrum.models.trunks.stem import StemConfig

TRUNKS: dict[str, type[TrunkConfig]] = {
    "single_task": SingleTaskConfig,
    "shared_bottom": SharedBottomConfig,
    "mmoe": MMoEConfig,
    "omoe": OMoEConfig,
    "ml_mmoe": MLMMoEConfig,
    "ple": PLEConfig,
    "adatt": AdaTTConfig,
    "cross_stitch": CrossStitchConfig,
    "stem": StemConfig,
    "home": HoMEConfig,
    "pepnet": PEPNetConfig,
}
add_plugins(TRUNKS, "trunks", TrunkConfig, "architecture")

if TYPE_CHECKING:
    ModelConfig = TrunkConfig
else:
    ModelConfig = choice(TRUNKS, "architecture", TrunkConfig)

__all__ = ["TRUNKS", "ModelConfig", "Trunk", "TrunkConfig"]
