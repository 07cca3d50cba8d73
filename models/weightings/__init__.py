"""The weightings: the dictionary is the list of what `weighting.method` may name."""

from typing import TYPE_CHECKING

from features.config import choice
from models.weightings.bandit import BanditConfig
from models.weightings.base import Declared, Setting, Weighting, WeightingConfig
from models.weightings.coba import CoBaConfig
from models.weightings.dwa import DWAConfig
from models.weightings.equal import EqualConfig
from models.weightings.famo import FAMOConfig
from models.weightings.geometric import GeometricConfig
from models.weightings.igb import IGBConfig
from models.weightings.imtl_l import IMTLLConfig
from models.weightings.preference import PreferenceConfig
from models.weightings.random import RandomConfig
from models.weightings.static import StaticConfig
from models.weightings.stch import STCHConfig
from models.weightings.uncertainty import UncertaintyConfig
from models.weightings.upgrad import UPGradConfig

WEIGHTINGS: dict[str, type[WeightingConfig]] = {
    "equal": EqualConfig,
    "static": StaticConfig,
    "preference": PreferenceConfig,
    "random": RandomConfig,
    "uncertainty": UncertaintyConfig,
    "imtl_l": IMTLLConfig,
    "dwa": DWAConfig,
    "geometric": GeometricConfig,
    "stch": STCHConfig,
    "igb": IGBConfig,
    "famo": FAMOConfig,
    "coba": CoBaConfig,
    "bandit": BanditConfig,
    "upgrad": UPGradConfig,
}

if TYPE_CHECKING:
    WeightingChoice = WeightingConfig
else:
    WeightingChoice = choice(WEIGHTINGS, "method")

__all__ = [
    "WEIGHTINGS",
    "Declared",
    "Setting",
    "StaticConfig",
    "Weighting",
    "WeightingChoice",
    "WeightingConfig",
]
