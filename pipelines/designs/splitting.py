"""`splitting`: each arm's model trains on its own rows."""

from typing import ClassVar, Literal

import numpy as np

from fulcrum.pipelines.designs.base import DesignConfig, LoggedRows


class SplittingConfig(DesignConfig):
    """W = 1{own arm} / share: also called data-diverted."""

    source: ClassVar[str] = "Holtz, Brennan and Pouget-Abadie, 2023, arXiv 2309.07107"
    summary: ClassVar[str] = "own rows alone: unbiased by the other arm's data, but fewer data"

    design: Literal["splitting"] = "splitting"

    def weights(self, rows: LoggedRows) -> np.ndarray:
        return rows.splitting_weights()
