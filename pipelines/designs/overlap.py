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
    propensity: Propensity,
    dataset: PreparedDataset,
    config: PropensityConfig,
    test: np.ndarray,
    arms: np.ndarray,
    units: np.ndarray,
) -> None:
    """Raises DataError when nearly every row tells its arm: then no row of the others stands in for
    the arm's own, and weighted training is splitting. `test` says which rows of the data set are
    those of `arms` and `units`."""
    if propensity.overlap >= LEAST:
        return
    logistic = config.model_copy(update={"kind": "logistic", "calibrate": "sigmoid"})

    def parts(name: str) -> bool:
        """Whether a feature keeps the arms apart by itself."""
        inputs = design_matrix(dataset, [name])[test]
        return fit(inputs, arms, units, logistic).overlap < 0.5

    culprits = [f"`{name}`" for name in config.features if parts(name)]
    by = listed(culprits) or "features together"
    if len(culprits) == 1:
        by += " alone"
    raise DataError(
        f"experiment_design: the arms overlap nowhere: {1 - propensity.overlap:.1%} of the rows "
        f"tell their arm for certain, kept apart by {by}. Weights would be those of `design: "
        "splitting`: use that, or leave out of `propensity.features` what does not change the "
        "outcome"
    )
