"""A small model of every kind of feature, exported once for all tests here."""

import torch

from models.network import Network
from models.weightings import StaticConfig


def random_weights(layout, model, seed=0):
    """`Network.state_dict()` of an untrained network, with tables large enough to matter."""
    torch.manual_seed(seed)
    network = Network(layout, model, StaticConfig(), tables_device=torch.device("cpu"))
    state = network.state_dict()
    return {
        key: torch.randn(value.shape) if key.startswith("tables.") else value
        for key, value in state.items()
    }
