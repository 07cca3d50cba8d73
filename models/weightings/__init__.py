"""The weightings: the dictionary is the list of what `weighting.method` may name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.features.plugins import add_plugins
from fulcrum.models.weightings.aligned import AlignedConfig
from fulcrum.models.weightings.bandit import BanditConfig
from fulcrum.models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from fulcrum.models.weightings.cagrad import CAGradConfig
from fulcrum.models.weightings.coba import CoBaConfig
from fulcrum.models.weightings.conflict_free import ConFIGConfig
from fulcrum.models.weightings.dualproj import DualProjConfig
from fulcrum.models.weightings.dwa import DWAConfig
from fulcrum.models.weightings.equal import EqualConfig
from fulcrum.models.weightings.fairgrad import FairGradConfig
from fulcrum.models.weightings.famo import FAMOConfig
from fulcrum.models.weightings.geometric import GeometricConfig
from fulcrum.models.weightings.gradnorm import GradNormConfig
from fulcrum.models.weightings.gradvac import GradVacConfig
from fulcrum.models.weightings.igb import IGBConfig
from fulcrum.models.weightings.igb_sac import IGBSACConfig
from fulcrum.models.weightings.imtl_g import IMTLGConfig
from fulcrum.models.weightings.imtl_l import IMTLLConfig
from fulcrum.models.weightings.mgda import MGDAConfig
from fulcrum.models.weightings.nash import NashConfig
from fulcrum.models.weightings.pcgrad import PCGradConfig
from fulcrum.models.weightings.preference import PreferenceConfig
from fulcrum.models.weightings.random import RandomConfig
from fulcrum.models.weightings.refused import REFUSED
from fulcrum.models.weightings.rmtl import RMTLConfig
from fulcrum.models.weightings.rmtl_mc import RMTLMCConfig
from fulcrum.models.weightings.static import StaticConfig
from fulcrum.models.weightings.stch import STCHConfig
from fulcrum.models.weightings.uncertainty import UncertaintyConfig
from fulcrum.models.weightings.upgrad import UPGradConfig

WEIGHTINGS: dict[str, type[WeightingConfig]] = {
    "static": StaticConfig,
    "equal": EqualConfig,
    "random": RandomConfig,
    "uncertainty": UncertaintyConfig,
    "imtl_l": IMTLLConfig,
    "dwa": DWAConfig,
    "geometric": GeometricConfig,
    "stch": STCHConfig,
    "preference": PreferenceConfig,
    "famo": FAMOConfig,
    "igb": IGBConfig,
    "coba": CoBaConfig,
    "gradnorm": GradNormConfig,
    "pcgrad": PCGradConfig,
    "gradvac": GradVacConfig,
    "cagrad": CAGradConfig,
    "mgda": MGDAConfig,
    "imtl_g": IMTLGConfig,
    "nash": NashConfig,
    "fairgrad": FairGradConfig,
    "aligned": AlignedConfig,
    "upgrad": UPGradConfig,
    "dualproj": DualProjConfig,
    "config": ConFIGConfig,
    "bandit": BanditConfig,
    "igb_sac": IGBSACConfig,
    "rmtl": RMTLConfig,
    "rmtl_mc": RMTLMCConfig,
}
add_plugins(WEIGHTINGS, "weightings", WeightingConfig, "method")

if TYPE_CHECKING:
    WeightingChoice = WeightingConfig
else:
    WeightingChoice = choice(WEIGHTINGS, "method", WeightingConfig, REFUSED)

__all__ = [
    "WEIGHTINGS",
    "Declared",
    "Setting",
    "StaticConfig",
    "Weighting",
    "WeightingChoice",
    "WeightingConfig",
]
