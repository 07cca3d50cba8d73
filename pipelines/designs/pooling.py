"""`pooling`: both arms' models train on all rows alike."""

from typing import ClassVar, Literal

import numpy as np

from fulcrum.pipelines.designs.base import DesignConfig, LoggedRows


class PoolingConfig(DesignConfig):
    """Every row weighs 1: the usual practice, in which each arm learns from the other's traffic."""

    source: ClassVar[str] = "Si, 2023, arXiv 2310.17496"
    summary: ClassVar[str] = "all rows alike: little variance, biased by the other arm's data"
    pooled: ClassVar[bool] = True

    design: Literal["pooling"] = "pooling"

    def weights(self, rows: LoggedRows) -> np.ndarray:
        return np.ones((len(rows.arm), len(rows.names)))
