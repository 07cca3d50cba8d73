"""What is kept of weights and conflicts."""

import json
import math
from itertools import pairwise

import pytest
import torch

from fulcrum.models.weightings.uncertainty import UncertaintyConfig
from fulcrum.pipelines.figures import balance as balance_figures
from fulcrum.pipelines.training import weight_history
from fulcrum.pipelines.training.trainer import read_result, train
from fulcrum.pipelines.training.weight_history import COSINE, WEIGHT, cosines, extend, lines
from tests.pipelines.small_runs import small_run
from tests.prepared import prepare


def test_cosines_are_of_pairs_in_order_without_tasks_that_have_no_gradient():
    gradients = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0], [4.0, -3.0]]).double()
    found = cosines(gradients @ gradients.T, ["a", "b", "c", "d"])
    assert found == pytest.approx({"cosine/a/c": -1, "cosine/a/d": 0, "cosine/c/d": 0})


def filled(steps: int) -> list[weight_history.Point]:
    points: list[weight_history.Point] = []
    for step in range(1, steps + 1):
        extend(points, step, {"weight/a": float(step)})
        if step % 10 == 0:
            extend(points, step, {"cosine/a/b": 0.0})
    return points


def test_a_long_training_keeps_few_points_spread_over_all_of_it(monkeypatch):
    monkeypatch.setattr(weight_history, "POINTS", 20)
    found = filled(1000)
    for kind in (WEIGHT, COSINE):
        steps = [step for step, _ in lines(found, kind)]
        assert len(steps) == 20 and steps == sorted(steps)
        assert steps[0] <= 10 and steps[-1] == 1000
        gaps = [b - a for a, b in pairwise(steps)]
        assert max(gaps) <= 1000 / 20 * 4


def test_what_is_kept_depends_on_the_points_alone(monkeypatch):
    """So that a resumed training keeps what an unbroken one does."""
    monkeypatch.setattr(weight_history, "POINTS", 7)
    resumed = [(step, values) for step, values in json.loads(json.dumps(filled(40)))]
    for step in range(41, 90):
        extend(resumed, step, {"weight/a": float(step)})
        if step % 10 == 0:
            extend(resumed, step, {"cosine/a/b": 0.0})
    assert resumed == filled(89)


def test_what_is_no_number_is_left_out():
    points: list[weight_history.Point] = []
    extend(points, 1, {"weight/a": math.nan, "weight/b": 2.0})
    extend(points, 2, {"weight/a": math.inf})
    extend(points, 3, {})
    assert points == [(1, {"weight/b": 2.0})]


def test_a_training_tells_its_course(tmp_path):
    dataset = prepare(tmp_path / "data", {"train": 640, "valid": 100, "test": 10})
    run = small_run(early_stopping=None).model_copy(
        update={"weighting": UncertaintyConfig(normalise=True)}
    )
    found = train(run, dataset, tmp_path / "run")
    assert read_result(tmp_path / "run").course == found.course
    [*_, (step, weights)] = lines(found.course, WEIGHT)
    assert step == 20 and sum(weights.values()) == pytest.approx(4, rel=1e-5)
    assert [step for step, _ in lines(found.course, COSINE)] == [10, 20]  # after each epoch
    [(_, pairs), _] = lines(found.course, COSINE)
    assert len(pairs) == 4 * 3 / 2 and all(-1 <= v <= 1 for v in pairs.values())


def test_weights_are_drawn_on_a_log_axis_when_they_spread():
    near = [(1, {"a": 1.0, "b": 0.5}), (2, {"a": 1.5, "b": 0.5})]
    far = [(1, {"a": 1.0, "b": 0.01})]
    [axes] = balance_figures.weights(near).axes
    assert axes.get_yscale() == "linear"
    assert [line.get_label() for line in axes.lines[:2]] == ["a", "b"]
    assert list(axes.lines[0].get_ydata()) == [1.0, 1.5]
    assert balance_figures.weights(far).axes[0].get_yscale() == "log"


def test_conflicts_are_drawn_at_a_few_moments_from_first_to_last():
    found = balance_figures.conflicts([(s, {"a/b": s / 100, "a/c": -0.5}) for s in range(100)])
    panels = [axes for axes in found.axes if axes.images and axes.get_title("left")]
    assert len(panels) == balance_figures.MOMENTS
    assert [panels[i].get_title("left") for i in (0, -1)] == ["step 0", "step 99"]
    cells = panels[-1].images[0].get_array()
    assert cells[0, 1] == cells[1, 0] == 0.99 and cells[0, 2] == -0.5
