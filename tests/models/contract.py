"""What every trunk promises. A trunk's own test file inherits this and names its config class."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

from fulcrum.features.layout import DenseInput, IdInput, Layout, SequenceInput, TaskSpec
from fulcrum.features.reading.batch import from_arrays
from fulcrum.models.embedding.vectors import state_width
from fulcrum.models.network import Network
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks import TRUNKS, TrunkConfig
from fulcrum.models.weightings import Setting, WeightingConfig
from tests.models.conftest import (
    TASKS,
    make_layout,
    plain_inputs,
    random_arrays,
    random_batch,
)
from tests.models.debug import debug_model

FIELDS, NAMES = ("f", "g", "h", "i", "j"), ("t0", "t1", "t2")
CPU = torch.device("cpu")


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


def binary_tasks(count: int) -> tuple[TaskSpec, ...]:
    return tuple(TaskSpec(name=f"t{t}", kind="binary", rate=0.5) for t in range(count))


def score(network: Network, layout: Layout, arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """Scores in eval mode."""
    with torch.no_grad():
        return network.eval()(from_arrays(layout, arrays))[1]["scores"]


class NetworkContract:
    """Tests that hold for every network, whatever it is made of."""

    name: ClassVar[str]
    """Of the network in `tests.models.debug`."""

    def model(self, **settings: object) -> TrunkConfig:
        return debug_model(self.name, **settings)

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
        swapped = make_network(layout, self.model())
        swapped.load_state_dict(self.swap_tasks(network.state_dict()))
        before, after = score(network, layout, arrays), score(swapped, layout, arrays)
        torch.testing.assert_close(after, before[:, [1, 0, 2]])

    def swap_tasks(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """State of the network whose first two of three tasks have changed places."""
        return {
            name: value[[1, 0, 2]] if ".towers." in name else value for name, value in state.items()
        }

    @pytest.mark.slow
    def test_exports_to_onnx(self, tmp_path: Path) -> None:
        layout, model = make_layout(TASKS), self.model()
        network = make_network(layout, model)
        with torch.no_grad():
            network.objective.predictor.towers.last.bias[1] = 60.0  # type: ignore[index]
        plain = PlainNetwork(layout, model).load(network.state_dict())
        example = plain_inputs(layout, random_arrays(layout, 3))
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            plain,
            example,
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            input_names=[source.name for source in layout.inputs],
            output_names=list(layout.score_columns),
            verbose=False,
        )
        assert program is not None
        program.save(tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        assert {i.shape[0] for i in session.get_inputs()} == {"batch"}
        for rows in (1, 2, 50):
            arrays = random_arrays(layout, rows, seed=rows)
            scores = torch.from_numpy(np.stack(session.run(None, arrays), 1))
            expected = score(network, layout, arrays)
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


class TrunkContract(NetworkContract):
    """Tests that hold for every architecture; the network's name is the architecture's."""

    fuses: ClassVar[bool] = True
    """Whether a representation is a weighted sum of experts."""

    def test_is_listed(self) -> None:
        config = TRUNKS[self.name]
        assert type(self.model()) is config
        assert config.source and config.summary

    def test_builds_from_defaults(self) -> None:
        config = TRUNKS[self.name]()
        trunk = config.build(FIELDS, NAMES[:2])
        fields = torch.randn(3, config.copies(2) * len(FIELDS), config.embedding_dim)
        assert trunk(fields).shape == (3, 2, trunk.width)

    def test_diagnostics_explain_the_representation(self) -> None:
        trunk = self.model().build(FIELDS, NAMES)
        fields = torch.randn(7, self.model().copies(3) * 5, 4)
        levels = trunk.eval().diagnostics(fields)
        assert bool(levels) == self.fuses
        for level in levels:
            outputs, experts = len(level.outputs), len(level.owners)
            assert level.weights.shape == (7, outputs, experts)
            assert level.experts.shape[:2] == (7, experts)
            assert not level.weights[:, ~level.visible].any()
            if level.gates is not None:
                assert not level.gates[:, ~level.visible].any()
                torch.testing.assert_close(level.gates.sum(2), torch.ones(7, outputs))
        if levels:
            assert levels[-1].outputs == NAMES
            torch.testing.assert_close(levels[-1].weights @ levels[-1].experts, trunk(fields))

    def test_path_is_as_wide_as_the_representation(self) -> None:
        """The single-task control has the depth and widths of what a task passes."""
        path = self.model().path
        assert path and path[-1] == self.model().build(FIELDS, NAMES).width
