"""Whether the arms of a test show things in common (positivity), and what keeps them apart."""

import numpy as np

from fulcrum.features.errors import DataError, listed
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.design_matrix import design_matrix
from fulcrum.pipelines.designs.propensity import Propensity, fit

LEAST = 0.01
"""Share of the rows that two arms could have logged, below which the arms overlap nowhere."""


def check(
    found: Propensity,
    dataset: PreparedDataset,
    config: PropensityConfig,
    test: np.ndarray,
    arms: np.ndarray,
    units: np.ndarray,
) -> None:
    """Raises DataError when nearly every row tells its arm: then no row of the others stands in for
    the arm's own, and weighted training is splitting. `test` says which rows of the data set are
    those of `arms` and `units`."""
    if found.overlap >= LEAST:
        return
    alone = config.model_copy(update={"kind": "logistic", "calibrate": "sigmoid"})

    def parts(name: str) -> bool:
        """Whether a feature keeps the arms apart by itself."""
        inputs = design_matrix(dataset, [name])[test]
        return fit(inputs, arms, units, alone).overlap < 0.5

    guilty = [f"`{name}`" for name in config.features if parts(name)]
    by = f"{listed(guilty)} alone" if len(guilty) == 1 else listed(guilty) or "features together"
    raise DataError(
        f"experiment_design: the arms overlap nowhere: {1 - found.overlap:.1%} of the rows tell "
        f"their arm for certain, kept apart by {by}. Weights would be those of `design: "
        "splitting`: use that, or leave out of `propensity.features` what does not change the "
        "outcome"
    )
