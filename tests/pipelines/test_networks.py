"""Every network through the training loop: stopped and resumed, it ends with the same bits."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.tracking.protocol import SilentTracker
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import train
from tests.models.debug import MODELS, debug_model
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare

pytestmark = pytest.mark.slow


NAMING = {"pepnet_named": {"domain": ["item"], "prior": ["user"]}}
"""Settings that name features, by those of the prepared rows."""


class Stop(SilentTracker):
    """Ends the process's work in mid-epoch, as Ctrl-C does."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        if step >= 20:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 200})


def run(name: str) -> RunConfig:
    config = small_run(checkpoint_every=8)
    model = debug_model(name, dropout=0.1, **NAMING.get(name, {}))
    return config.model_copy(update={"model": model})


@pytest.mark.parametrize("name", MODELS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    name: str, dataset: PreparedDataset, tmp_path: Path
) -> None:
    unbroken = train(run(name), dataset, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(run(name), dataset, tmp_path / "stopped", tracker=Stop())
    resumed = train(run(name), dataset, tmp_path / "stopped", resume=True)
    assert resumed.history == unbroken.history
    expected, found = load_weights(unbroken.checkpoint), load_weights(resumed.checkpoint)
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        assert torch.equal(found[key], weight), key
