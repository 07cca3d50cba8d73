"""The model that a run learns on from (`train.from`): its weights and its feature state.

Weights are those of the checkpoint that the model was exported from, in the folder of its run: the
exported graph has lost names (equal weights are there once) and bits (tables of fp16). Read only
runs that you trust, as for `fulcrum train --resume`: torch's metadata file is a pickle.
"""

from dataclasses import dataclass
from pathlib import Path

from fulcrum.features.errors import ConfigError
from fulcrum.features.transform.state import FeatureState
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training import checkpoint

CHECKPOINTS = "checkpoints"
"""Of a run's folder."""


@dataclass(frozen=True)
class EarlierModel:
    """A trained model."""

    uri: str
    """Which names it for ever: no alias is in it."""
    state: FeatureState
    """What the rows of its tables and the places of its dense weights stand for."""
    checkpoint: Path
    """Of its weights."""


def find(uri: str, tracking: str) -> EarlierModel:
    """What is behind `models:/name@alias`, `models:/name/3`, `models:/m-...` or
    `runs:/<run>/<model>`.

    Raises ModelError where there is no such model, ConfigError where its checkpoint is no longer
    there, StateError where a file is damaged.
    """
    # MLflow takes long to import, which most runs need for nothing in training.
    from fulcrum.pipelines.tracking.mlflow import find_run
    from fulcrum.serving.publishing.registry import Registry

    registry = Registry(tracking)
    uri, run = registry.origin(uri)
    state = registry.resolve(uri).bundle.state
    folder = find_run(tracking, run).folder
    newest = checkpoint.latest(folder / CHECKPOINTS)
    if newest is None:
        raise ConfigError(
            f"train.from: {uri} has no checkpoint any more (looked in {folder / CHECKPOINTS}); "
            "expected a model whose run still has its folder on this machine"
        )
    best = checkpoint.best_step(checkpoint.read_state(newest))
    return EarlierModel(uri, state, checkpoint.path(folder / CHECKPOINTS, best))


def pinned(config: RunConfig) -> RunConfig:
    """The config with the version that an alias means now in place of the alias: whenever the run
    is resumed, it began where it began. Raises as `find` does."""
    if config.train.from_ is None:
        return config
    uri = find(config.train.from_, config.tracking.uri).uri
    return config.model_copy(update={"train": config.train.model_copy(update={"from_": uri})})
