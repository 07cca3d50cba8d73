"""Pathologies of experts, planted in networks that were not trained."""

from collections.abc import Callable

import torch

from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.models.layers.fusion import Fusion, Gate
from fulcrum.models.network import Network
from fulcrum.models.trunks import MMoEConfig, TrunkConfig
from fulcrum.models.trunks.ple import PLEConfig
from fulcrum.pipelines.quality.experts import Health
from fulcrum.pipelines.training.predict import examine
from fulcrum.pipelines.training.processes import process_group
from tests.prepared import LAYOUT

SPARSE = LAYOUT.model_copy(
    update={
        "tasks": tuple(
            task.model_copy(update={"rate": 0.01}) if task.name == "like" else task
            for task in LAYOUT.tasks
        )
    }
)
"""`like` has 1 % positives, below the 5 % where a task is sparse."""

MMOE = MMoEConfig(embedding_dim=8, experts=4, expert=(16, 32), tower=(8,))
PLE = PLEConfig(embedding_dim=8, levels=((16, 32),), task_experts=2, shared_experts=2, tower=(8,))


def fusion(network: Network) -> Fusion:
    [module] = (m for m in network.objective.predictor.trunk.modules() if isinstance(m, Fusion))
    return module


def bias(network: Network, output: int, **logits: float) -> None:
    """Set a gate's bias: `e0=3.0` for expert 0."""
    gate = fusion(network).gate
    assert isinstance(gate, Gate) and gate.linear.bias is not None
    with torch.no_grad():
        for name, value in logits.items():
            gate.linear.bias[output, int(name[1:])] = value


def last_layer(network: Network) -> torch.nn.Module:
    return fusion(network).experts.mlp.layers[-1]


def deaden(network: Network) -> None:
    with torch.no_grad():
        last_layer(network).bias[2, :] = -100.0


def amplify(network: Network) -> None:
    with torch.no_grad():
        last_layer(network).weight[1] *= 10
        last_layer(network).bias[1] *= 10


def fix(network: Network) -> None:
    bias(network, 3, e0=20.0)


def occupy(network: Network) -> None:
    bias(network, 0, e3=1.5)
    for other in (1, 2, 3):
        bias(network, other, e3=-4.0)


def agree(network: Network) -> None:
    for output in range(4):
        bias(network, output, e1=2.5)


def ignore(network: Network) -> None:
    """Experts of PLE: two of each task, then two shared; `like` is the second task."""
    bias(network, 1, e2=-4.0, e3=-4.0)


def looked_at(
    dataset: PreparedDataset, model: TrunkConfig, plant: Callable[[Network], None] | None
) -> Health:
    torch.manual_seed(0)
    network = Network(SPARSE, model, tables_device=torch.device("cpu"))
    if plant is not None:
        plant(network)
    with process_group() as process:
        return examine(network, dataset, "valid", process)
