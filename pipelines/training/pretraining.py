"""Trainings that come before a run's own, from whose weights it goes on.

Two things ask for one. A weighting may need a trained network to learn from (RMTL's actor). And
with unequal data, learning the tasks that have much of it first and the mixture then can beat the
mixture alone: "Order Matters in the Presence of Dataset Imbalance for Multilingual Learning",
NeurIPS 2023, arXiv 2312.06134.
"""

from fulcrum.models.weightings import StaticConfig
from fulcrum.pipelines.config.run import RunConfig

FOLDER = "pretrain"
"""Of the earlier phase's checkpoints, within those of the phase that goes on from it."""


def before(run: RunConfig) -> RunConfig | None:
    """The phase that comes before a run's own training, or None. It may itself have one. Its scores
    are nobody's, so they are not calibrated."""
    plain = run.train.model_copy(update={"calibration": None})
    if run.weighting.pretraining is not None:
        return run.model_copy(update={"weighting": run.weighting.pretraining, "train": plain})
    first = run.train.pretrain
    if first is None:
        return None
    weights = {task: float(task in first.tasks) for task in run.tasks}
    settings = {"pretrain": None, "epochs": first.epochs, "early_stopping": None}
    train = plain.model_copy(update=settings)
    return run.model_copy(update={"train": train, "weighting": StaticConfig(weights=weights)})
