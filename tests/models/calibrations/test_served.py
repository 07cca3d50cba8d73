"""Calibrations inside networks: what is served and measured, chains, the exported graph."""

from pathlib import Path

import numpy as np
import torch

from fulcrum.features.layout import TaskSpec
from fulcrum.models.calibrations import Calibration
from fulcrum.models.calibrations.beta import BetaCalibration
from fulcrum.models.calibrations.isotonic import IsotonicCalibration
from fulcrum.models.calibrations.platt import PlattCalibration
from fulcrum.models.calibrations.scale import ScaleCalibration
from fulcrum.models.objectives.mixed import MixedObjective
from fulcrum.models.plain import PlainNetwork
from fulcrum.models.trunks.shared_bottom import SharedBottomConfig
from fulcrum.serving.publishing.export import export_graph
from fulcrum.serving.publishing.parity import check_parity
from fulcrum.testing.layouts import TASKS, make_layout, random_arrays, random_batch
from fulcrum.testing.networks import make_network, score

COUNT = TaskSpec(name="replays", kind="count", mean=0.5)
LAYOUT = make_layout((*TASKS, COUNT))
MODEL = SharedBottomConfig(embedding_dim=4, hidden=(8,), tower=(4,))
CALIBRATIONS: dict[str, Calibration] = {
    "click": PlattCalibration(slope=0.7, offset=-0.4),
    "buy": BetaCalibration(a=0.8, b=1.3, c=0.6),
    "like": IsotonicCalibration(x=(-3.0, -2.0, 0.0), y=(-4.0, -1.5, 0.1)),
    "watch": ScaleCalibration(offset=0.25),
    "replays": ScaleCalibration(offset=-0.5),
}
SCORES = {name: place for place, name in enumerate(LAYOUT.score_columns)}


def logit(p: torch.Tensor) -> np.ndarray:
    return torch.logit(p.double()).numpy()


def test_each_score_is_the_map_of_what_it_was() -> None:
    """Probabilities on the logit, counts by a factor, and a value after log1p by a factor of 1 +
    value; classes are left alone. `buy` is also capped by `click`."""
    network, arrays = make_network(LAYOUT, MODEL), random_arrays(LAYOUT, 200)
    before = score(network, LAYOUT, arrays)
    network.objective.predictor.tasks.calibrate(CALIBRATIONS)
    after = score(network, LAYOUT, arrays)
    column = lambda scores, name: scores[:, SCORES[name]]  # noqa: E731
    for name in ("click", "like"):
        expected = CALIBRATIONS[name](logit(column(before, name)))
        np.testing.assert_allclose(logit(column(after, name)), expected, atol=1e-4)
    own = torch.from_numpy(CALIBRATIONS["buy"](logit(column(before, "buy")))).sigmoid().float()
    capped = torch.minimum(own, column(after, "click"))
    torch.testing.assert_close(column(after, "buy"), capped, rtol=1e-4, atol=1e-6)
    for name, one, factor in (("watch", 1.0, 0.25), ("replays", 0.0, -0.5)):
        expected = (column(before, name) + one) * np.exp(factor) - one
        torch.testing.assert_close(column(after, name), expected, rtol=1e-4, atol=1e-5)
    for name in ("tab.a", "tab.b", "tab.c"):
        assert torch.equal(column(after, name), column(before, name))


def test_losses_that_are_measured_are_those_of_the_calibrated_scores() -> None:
    network, batch = make_network(LAYOUT, MODEL).eval(), random_batch(LAYOUT, 64)
    before = network(batch)[1]["row_losses"]
    network.objective.predictor.tasks.calibrate(CALIBRATIONS)
    out = network(batch)[1]
    place = [task.name for task in LAYOUT.tasks].index
    for name in ("click", "buy", "like"):
        p, y = out["scores"][:, SCORES[name]].double(), batch.labels[:, place(name)].double()
        expected = -(y * p.log() + (1 - y) * (1 - p).log()) * batch.observed[:, place(name)]
        found = out["row_losses"][:, place(name)].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    rate, y = out["scores"][:, SCORES["replays"]], batch.labels[:, place("replays")]
    deviance = 2 * (torch.xlogy(y, y) - y * rate.log() - y + rate)
    deviance = deviance * batch.observed[:, place("replays")]
    found = out["row_losses"][:, place("replays")]
    torch.testing.assert_close(found, deviance, rtol=1e-3, atol=1e-4)
    for name in ("watch", "tab"):  # learned on another scale, and left alone
        assert torch.equal(out["row_losses"][:, place(name)], before[:, place(name)])


def test_the_graph_calibrates(tmp_path: Path) -> None:
    network = make_network(LAYOUT, MODEL)
    plain = PlainNetwork(LAYOUT, MODEL).load(network.state_dict())
    for part in (network.objective.predictor, plain.predictor):
        part.tasks.calibrate(CALIBRATIONS)
    export_graph(plain, tmp_path / "model.onnx", {})
    arrays = random_arrays(LAYOUT, 50)
    check_parity(plain, tmp_path / "model.onnx", arrays)
    with torch.no_grad():
        inputs = (torch.from_numpy(arrays[source.name]) for source in LAYOUT.inputs)
        served = torch.stack(plain(*inputs), 1)
    torch.testing.assert_close(served, score(network, LAYOUT, arrays), rtol=1e-5, atol=1e-6)


def test_no_calibration_changes_no_bit_and_no_weight_has_any() -> None:
    objective = MixedObjective((COUNT, *(task for task in TASKS if task.given is None)))
    logits = torch.randn(99, sum(objective.outputs))
    before = objective.scores(logits)
    names = list(objective.state_dict())
    objective.calibrate({})
    assert torch.equal(objective.scores(logits), before)
    objective.calibrate(CALIBRATIONS)
    assert list(objective.state_dict()) == names
    assert not torch.equal(objective.scores(logits), before)
    assert objective.uncalibrate() and not objective.uncalibrate()
    assert torch.equal(objective.scores(logits), before)
