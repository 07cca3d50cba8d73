"""Every regulariser through the training loop: stopped and resumed, it ends with the same bits."""

from pathlib import Path

import pytest
import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.regularisers import REGULARISERS
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.training.checkpoint import load_weights
from fulcrum.pipelines.training.trainer import train
from tests.pipelines.small_runs import small_run
from tests.pipelines.test_networks import Stop
from tests.prepared import prepare

KINDS = [kind for kind in REGULARISERS if kind != "none"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(tmp_path_factory.mktemp("data"), {"train": 1200, "valid": 200})


def run(kind: str, **settings: object) -> RunConfig:
    return small_run(checkpoint_every=8, **settings).model_copy(
        update={"regulariser": REGULARISERS[kind]()}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    kind: str, dataset: PreparedDataset, tmp_path: Path
) -> None:
    unbroken = train(run(kind), dataset, tmp_path / "unbroken")
    # That it learns is held by the regularisers' own tests: after so few rows AUC is luck.
    assert len(unbroken.history) > 1
    with pytest.raises(KeyboardInterrupt):
        train(run(kind), dataset, tmp_path / "stopped", tracker=Stop())
    resumed = train(run(kind), dataset, tmp_path / "stopped", resume=True)
    assert resumed.history == unbroken.history
    expected, found = load_weights(unbroken.checkpoint), load_weights(resumed.checkpoint)
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        assert torch.equal(found[key], weight), key


@pytest.mark.parametrize("kind", KINDS)
def test_trains_in_bf16(kind: str, dataset: PreparedDataset, tmp_path: Path) -> None:
    result = train(run(kind, epochs=1, precision="bf16"), dataset, tmp_path)
    assert result.metrics["auc/click"] > 0.55
