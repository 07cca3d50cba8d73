"""`snapshot`: models stay what they were when the test began."""

from typing import ClassVar, Literal

import numpy as np

from fulcrum.pipelines.designs.base import DesignConfig, LoggedRows


class SnapshotConfig(DesignConfig):
    """Only rows outside the test train, those without an arm. The other splits weigh rows as
    `splitting` does, so the model is measured on what its arm showed."""

    source: ClassVar[str] = "Si, 2023, arXiv 2310.17496"
    summary: ClassVar[str] = "rows before the test alone: no arm's data, and models that age"

    design: Literal["snapshot"] = "snapshot"

    def weights(self, rows: LoggedRows) -> np.ndarray:
        return np.where((rows.test & rows.training)[:, None], 0.0, rows.splitting_weights())
