"""What lets the law of all arms into a model that is trained on one arm's."""

from torch import nn

from fulcrum.features.errors import listed
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.layers.batch_norm import StackedBatchNorm
from fulcrum.models.network import Network
from fulcrum.pipelines.config.rules import spec
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.designs.identifying_features import readers

NORMS = (StackedBatchNorm, nn.modules.batchnorm._BatchNorm)


def cautions(config: RunConfig, dataset: PreparedDataset) -> list[str]:
    """Sentences, each beginning with `Warning: `; none for a run without arms, or one that is meant
    to learn the law of all of them."""
    design, arms = config.experiment_design, config.data.arms
    if design is None or arms is None or design.pooled:
        return []
    leaks = []
    if normalises(Network(dataset.state.layout, config.model)):
        leaks.append(
            "Warning: the model normalises over the batch, where every row counts alike whatever "
            f"its weight: means and variances are those of all arms, not of `{design.arm}`. A "
            "model without batch normalisation has no such leak."
        )
    if config.weighting.sessions:
        leaks.append(
            f"Warning: `weighting: {config.weighting.method}` learns from whole sessions, in which "
            "every row counts alike whatever its weight: what it foresees is the law of all arms."
        )
    names = [f"`{name}`" for name in readers(arms.unit, spec(config))]
    if names:
        leaks.append(
            f"Warning: the model reads the unit `{arms.unit}` ({listed(names)}), and no row tells "
            f"what units of other arms would have met in `{design.arm}`: what it learns of single "
            "units is their own arm's law, so the weighting is no longer exact."
        )
    return leaks


def normalises(network: nn.Module) -> bool:
    """Whether a network takes statistics over the rows of a batch."""
    return any(isinstance(module, NORMS) for module in network.modules())
