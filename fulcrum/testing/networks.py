"""What every network promises. The test file of a part that a `model:` block may name inherits this
and gives such a block."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from fulcrum.features.layout import DenseInput, IdInput, Layout, SequenceInput
from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.embedding.vectors import state_width
from fulcrum.models.network import Network
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks import ModelConfig, TrunkConfig
from fulcrum.models.weightings import Setting, WeightingConfig
from fulcrum.serving.publishing.export import export_graph
from fulcrum.serving.publishing.parity import check_parity
from fulcrum.testing.layouts import (
    TASKS,
    binary_tasks,
    make_layout,
    plain_inputs,
    random_arrays,
    random_batch,
)

CPU = torch.device("cpu")


def small_model(block: Mapping[str, Any], **settings: object) -> TrunkConfig:
    """The network of a `model:` block, with settings replaced; embeddings and towers are small
    unless it says otherwise."""
    whole = {"embedding_dim": 4, "tower": [8], **block, **settings}
    return TypeAdapter[TrunkConfig](ModelConfig).validate_python(whole)


def make_network(
    layout: Layout, model: TrunkConfig, weighting: WeightingConfig | None = None
) -> Network:
    """An unsharded network with tables large enough to matter."""
    copies = model.copies(len(layout.tasks))
    width = state_width(layout, model.embedding_dim, copies)
    setting = Setting(layout.tasks, state=width, rows=64)
    made = weighting.build(setting) if weighting else None
    network = Network(layout, model, made, tables_device=CPU)
    for table in network.tables.parameters():
        torch.nn.init.normal_(table, std=0.5)
    return network


def score(network: Network, layout: Layout, arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """Scores in eval mode."""
    with torch.no_grad():
        return network.eval()(from_arrays(layout, arrays))[1]["scores"]


class NetworkContract:
    """Tests that hold for every network, whatever it is made of."""

    block: ClassVar[Mapping[str, Any]]
    """The `model:` block of a network that trains in seconds."""

    @pytest.fixture(autouse=True)
    def _seeded(self) -> None:
        torch.manual_seed(0)

    def model(self, **settings: object) -> TrunkConfig:
        return small_model(self.block, **settings)

    def test_config_round_trips(self) -> None:
        model = self.model()
        assert type(model).model_validate_json(model.model_dump_json()) == model

    @pytest.mark.parametrize("history", ["attention", "mean"])
    @pytest.mark.parametrize("rows", [1, 2, 33])
    def test_plain_network_is_the_same_function(self, history: str, rows: int) -> None:
        layout, model = make_layout(), self.model(history=history)
        network, arrays = make_network(layout, model), random_arrays(layout, rows)
        plain = PlainNetwork(layout, model).load(network.state_dict())
        scores = torch.stack(plain(*plain_inputs(layout, arrays)), 1)
        torch.testing.assert_close(scores, score(network, layout, arrays), rtol=1e-6, atol=1e-6)

    def test_rows_are_independent(self) -> None:
        layout = make_layout()
        network, arrays = make_network(layout, self.model()), random_arrays(layout, 9)
        together = score(network, layout, arrays)
        for row in range(9):
            alone = score(network, layout, {k: v[row : row + 1] for k, v in arrays.items()})
            torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)

    def test_every_parameter_takes_part_and_every_gradient_is_finite(self) -> None:
        """DDP's static graph needs both, whatever the batch holds."""
        layout = make_layout()
        network = make_network(layout, self.model())
        batch = random_batch(layout, 16)
        batch.observed[:, 0] = False
        loss, out = network(batch)
        loss.backward()
        assert out["losses"][0] == 0
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    @pytest.mark.parametrize("tasks", [1, 30])
    def test_number_of_tasks(self, tasks: int) -> None:
        layout = make_layout(binary_tasks(tasks), histories=False)
        network = make_network(layout, self.model())
        loss, out = network(random_batch(layout, 8))
        loss.backward()
        assert out["scores"].shape == (8, tasks)
        assert out["scores"].isfinite().all() and loss.isfinite()

    @pytest.mark.parametrize("kept", ["dense", "ids", "sequences"])
    def test_sets_of_inputs_may_be_empty(self, kept: str) -> None:
        full = make_layout()
        kinds: dict[str, type] = {"dense": DenseInput, "ids": IdInput, "sequences": SequenceInput}
        layout = full.model_copy(
            update={
                "ids": full.ids if kept != "dense" else (),
                "bags": (),
                "dense": full.dense if kept == "dense" else (),
                "sequences": full.sequences if kept == "sequences" else (),
            }
        )
        assert any(isinstance(i, kinds[kept]) for i in layout.inputs)
        network, arrays = make_network(layout, self.model()), random_arrays(layout, 5)
        plain = PlainNetwork(layout, self.model()).load(network.state_dict())
        scores = torch.stack(plain(*plain_inputs(layout, arrays)), 1)
        torch.testing.assert_close(scores, score(network, layout, arrays), rtol=1e-6, atol=1e-6)

    def test_learns_a_planted_signal(self) -> None:
        """Labels that an id, a number and a history decide: the loss falls well below chance."""
        layout = make_layout(binary_tasks(3))
        network, arrays = make_network(layout, self.model()), random_arrays(layout, 512)
        labels = np.stack(
            [
                arrays["user"] % 2,
                arrays["length"] > 0,
                (arrays["viewed.author"] == arrays["author"][:, None]).any(1),
            ],
            1,
        )
        batch = from_arrays(layout, arrays, labels, np.ones_like(labels))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            loss, out = network(batch)
            loss.backward()
            optimizer.step()
        rates = labels.mean(0)
        chance = -(rates * np.log(rates) + (1 - rates) * np.log(1 - rates))
        assert (out["losses"].numpy() < chance / 2).all(), (out["losses"], chance)

    def test_tasks_may_swap_places(self) -> None:
        layout = make_layout(binary_tasks(3))
        network, arrays = make_network(layout, self.model()), random_arrays(layout, 6)
        with torch.no_grad():  # tasks that start alike would hide what does not change places
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        swapped = make_network(layout, self.model())
        swapped.load_state_dict(self.swap_tasks(network.state_dict()))
        before, after = score(network, layout, arrays), score(swapped, layout, arrays)
        torch.testing.assert_close(after, before[:, [1, 0, 2]])

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """State of the network whose first two of three tasks have changed places."""
        return {
            name: value[[1, 0, 2]] if ".towers." in name else value for name, value in state.items()
        }

    def test_exports_to_onnx(self, tmp_path: Path) -> None:
        layout, model = make_layout(TASKS), self.model()
        network = make_network(layout, model)
        with torch.no_grad():
            network.objective.predictor.towers.last.bias[1] = 60.0  # type: ignore[index]
        plain = PlainNetwork(layout, model).load(network.state_dict())
        export_graph(plain, tmp_path / "model.onnx", {})
        check_parity(plain, tmp_path / "model.onnx", random_arrays(layout, 50))
