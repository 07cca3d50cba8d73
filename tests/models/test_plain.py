"""The twin that is exported takes its tables one by one."""

import weakref
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fulcrum.models.plain import PlainNetwork
from fulcrum.testing.layouts import make_layout
from fulcrum.testing.networks import make_network
from tests.models.debug import debug_model


class OneByOne(Mapping[str, Tensor]):
    """Gives copies, and counts the tables among them that are still there."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.given: list[weakref.ref[Tensor]] = []
        self.most = 0

    def __getitem__(self, name: str) -> Tensor:
        weight = self.weights[name].clone()
        if name.startswith("tables."):
            self.given.append(weakref.ref(weight))
            self.most = max(self.most, sum(given() is not None for given in self.given))
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_one_table_at_a_time_is_there_beside_those_of_the_twin() -> None:
    layout, model = make_layout(), debug_model("mmoe")
    weights = make_network(layout, model).state_dict()
    read = OneByOne(weights)
    network = PlainNetwork(layout, model).load(read)
    assert len(read.given) == len(layout.tables) > 2
    assert read.most == 1
    assert all(given() is None for given in read.given)
    expected = PlainNetwork(layout, model).load(weights).tables.weight
    assert torch.equal(network.tables.weight, expected)
