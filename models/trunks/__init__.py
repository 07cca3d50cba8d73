"""The architectures: the dictionary is the list of what `model.architecture` may name."""

from typing import TYPE_CHECKING, Annotated, Union

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

if TYPE_CHECKING:
    ModelConfig = TrunkConfig
else:
    ModelConfig = Annotated[Union[tuple(TRUNKS.values())], Field(discriminator="architecture")]  # noqa: UP007

__all__ = ["TRUNKS", "ModelConfig", "Trunk", "TrunkConfig"]
