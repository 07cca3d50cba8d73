"""Every weighting through the training loop: stopped and resumed, it ends with the same bits."""

from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.weightings import WEIGHTINGS, WeightingChoice, WeightingConfig
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import train
from tests.pipelines.small_runs import small_run
from tests.pipelines.test_networks import Stop
from tests.prepared import prepare

pytestmark = pytest.mark.slow

QUICK = {
    "dwa": {"window": 5},
    "igb": {"window": 5},
    "famo": {"every": 3},
    "coba": {"every": 2, "warm_up": 3},
    "bandit": {"gramian": {"kind": "sketch", "every": 5}},
}
"""Settings by which a method is well on its way after twenty of the 38 steps."""
METHODS = [method for method, config in WEIGHTINGS.items() if not config.sessions]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 200})


def run(method: str) -> RunConfig:
    block = {"method": method, **QUICK.get(method, {})}
    weighting = TypeAdapter[WeightingConfig](WeightingChoice).validate_python(block)
    return small_run(checkpoint_every=8).model_copy(update={"weighting": weighting})


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    method: str, dataset: PreparedDataset, tmp_path: Path
) -> None:
    unbroken = train(run(method), dataset, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(run(method), dataset, tmp_path / "stopped", tracker=Stop())
    resumed = train(run(method), dataset, tmp_path / "stopped", resume=True)
    assert resumed.history == unbroken.history
    expected, found = load_weights(unbroken.checkpoint), load_weights(resumed.checkpoint)
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        assert torch.equal(found[key], weight), key
