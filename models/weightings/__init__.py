"""The weightings: the dictionary is the list of what `weighting.method` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.weightings.aligned import AlignedConfig
from models.weightings.bandit import BanditConfig
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from models.weightings.cagrad import CAGradConfig
from models.weightings.coba import CoBaConfig
from models.weightings.config import ConFIGConfig
from models.weightings.dualproj import DualProjConfig
from models.weightings.dwa import DWAConfig
from models.weightings.equal import EqualConfig
from models.weightings.fairgrad import FairGradConfig
from models.weightings.famo import FAMOConfig
from models.weightings.geometric import GeometricConfig
from models.weightings.gradnorm import GradNormConfig
from models.weightings.gradvac import GradVacConfig
from models.weightings.igb import IGBConfig
from models.weightings.igb_sac import IGBSACConfig
from models.weightings.imtl_g import IMTLGConfig
from models.weightings.imtl_l import IMTLLConfig
from models.weightings.mgda import MGDAConfig
from models.weightings.nash import NashConfig
from models.weightings.pcgrad import PCGradConfig
from models.weightings.preference import PreferenceConfig
from models.weightings.random import RandomConfig
from models.weightings.refused import REFUSED
from models.weightings.rmtl import RMTLConfig
from models.weightings.rmtl_mc import RMTLMCConfig
from models.weightings.static import StaticConfig
from models.weightings.stch import STCHConfig
from models.weightings.uncertainty import UncertaintyConfig
from models.weightings.upgrad import UPGradConfig

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

if TYPE_CHECKING:
    WeightingChoice = WeightingConfig
else:
    WeightingChoice = choice(WEIGHTINGS, "method", REFUSED)

__all__ = [
    "WEIGHTINGS",
    "Declared",
    "Setting",
    "StaticConfig",
    "Weighting",
    "WeightingChoice",
    "WeightingConfig",
]
