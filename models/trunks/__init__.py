"""The architectures: the dictionary is the list of what `model.architecture` may name."""

from typing import Annotated

from pydantic import Field

from models.trunks.base import Trunk, TrunkConfig
from models.trunks.mmoe import MMoEConfig
from models.trunks.shared_bottom import SharedBottomConfig
from models.trunks.single_task import SingleTaskConfig

TRUNKS: dict[str, type[TrunkConfig]] = {
    "single_task": SingleTaskConfig,
    "shared_bottom": SharedBottomConfig,
    "mmoe": MMoEConfig,
}

ModelConfig = Annotated[
    SingleTaskConfig | SharedBottomConfig | MMoEConfig, Field(discriminator="architecture")
]

__all__ = ["TRUNKS", "ModelConfig", "Trunk", "TrunkConfig"]
