import math
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest

from fulcrum.pipelines.figures import run as run_figures
from fulcrum.pipelines.figures.run import Bar
from fulcrum.pipelines.quality.experts import LevelHealth
from fulcrum.pipelines.quality.reliability import reliability
from tests.pipelines.quality.test_experts import random_health

TASKS = ("click", "like")
HISTORY = [
    (10, {"auc": 0.6, "auc/click": 0.7, "auc/like": 0.5, "rmse/watch": 9.0}),
    (20, {"auc": 0.7, "auc/click": 0.8, "auc/like": math.nan}),
]
CURVES = {
    "all": reliability(np.linspace(0, 1, 50), np.ones(50), np.ones(50)),
    "none": reliability(np.full(3, 0.5), np.zeros(3), np.ones(3)),
}


@pytest.mark.parametrize(
    "figure",
    [
        lambda: run_figures.training_curves(HISTORY, best=20),
        lambda: run_figures.calibration(CURVES, {}),
        lambda: run_figures.calibration(CURVES, CURVES),
        lambda: run_figures.gain("auc", TASKS, {"constant": [0.5, 0.5], "mmoe": [0.7, math.nan]}),
        lambda: run_figures.seesaw(
            TASKS, {"mmoe": {"click": Bar(1.0, 0.5, 1.5, 1), "like": Bar(0, None, None)}}, 0.1
        ),
        lambda: run_figures.seesaw(TASKS, {"mmoe": {"click": Bar(0, 0, 0)}, "ple": {}}, 0.0),
        lambda: run_figures.front({"a": (1e3, 0.0), "b": (1e6, 2.0), "c": (1e6, 2.0)}, {"a", "b"}),
        lambda: run_figures.front({"a": (1e3, 0.0)}, {"a"}),
        lambda: run_figures.drift({f"feature {i}": i / 100 for i in range(50)}),
        lambda: run_figures.drift({"still": 0.0}),
        lambda: run_figures.drift({}),
        lambda: run_figures.affinity(["a", "b"], np.eye(2), [[0], [1]]),
        lambda: run_figures.health([random_health(0, tasks=2, experts=3)]),
        lambda: run_figures.health([random_health(s, tasks=30, experts=60) for s in range(2)]),
    ],
)
def test_every_picture_becomes_a_png(figure, tmp_path):
    path = run_figures.save(figure(), tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_panel_for_each_kind_of_metric_and_a_line_for_each_task():
    auc, rmse = run_figures.training_curves(HISTORY, best=20).axes
    assert [line.get_label() for line in auc.lines[:3]] == ["all tasks", "click", "like"]
    assert list(auc.lines[1].get_xdata()) == [10, 20]
    assert list(auc.lines[1].get_ydata()) == [0.7, 0.8]
    assert list(rmse.lines[0].get_ydata()) == [9.0]
    assert (auc.get_title("left"), rmse.get_title("left")) == ("AUC", "RMSE")


def test_a_task_has_one_colour_in_all_panels():
    history = [(1, {"auc/click": 0.5, "loss/like": 1.0, "loss/click": 1.0})]
    auc, loss = run_figures.training_curves(history).axes
    assert auc.lines[0].get_color() == loss.lines[1].get_color() != loss.lines[0].get_color()


def test_calibration_shows_what_was_before_and_what_became_of_it():
    label = np.repeat([0.0, 1.0], 20)
    after, before = (
        reliability(np.full(40, score), label, np.ones(40), bins=1) for score in (0.5, 0.75)
    )
    click, like = run_figures.calibration({"click": after, "like": after}, {"click": before}).axes
    assert [text.get_text() for text in (click.texts[0], like.texts[0])] == [
        "Σ score / Σ label = 1.000 from 1.500",
        "Σ score / Σ label = 1.000",
    ]
    drawn = [list(line.get_xdata()) for line in click.lines if len(line.get_xdata()) == 1]
    assert [0.75] in drawn and [0.5] in drawn


def test_drift_shows_the_worst_first():
    axes = run_figures.drift({"a": 0.01, "b": 0.5, "c": 0.2}, top=2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c"]
    assert axes.get_title("left").endswith("(top 2 of 3)")


def test_health_writes_weights_beside_contributions_and_reddens_alarms():
    level = LevelHealth(
        number=2,
        outputs=TASKS,
        owners=("click", "shared"),
        visible=np.array([[True, True], [False, True]]),
        mean=np.zeros(2),
        std=np.ones(2),
        size=np.array([0.1, 0.6]),
        zero_rate=np.array([0.95, 0.5]),
        gate=np.array([[0.25, 0.75], [0.0, 1.0]]),
        weight=np.array([[0.25, 0.75], [0.0, 1.0]]),
        contribution=np.array([[1.0, 3.0 * 3], [0.0, 7.0]]),
    )
    gates, contributions, zeros, sizes = run_figures.health([level]).axes
    assert [text.get_text() for text in gates.texts] == ["0.25", "0.75", "1.00"]
    assert [text.get_text() for text in contributions.texts] == ["0.10", "0.90", "1.00"]
    assert [label.get_text() for label in gates.get_xticklabels()] == ["click 1", "shared 1"]
    red = matplotlib.colors.to_rgba(run_figures.PALETTE[3])
    for panel in (zeros, sizes):  # size 0.1 against 0.6 is a ratio of 6, above 5
        assert [bar.get_facecolor() == red for bar in panel.patches] == [True, False]


def test_bars_tell_rises_from_falls():
    networks = {"up": Bar(2, 1, 3, 1), "down": Bar(-2, -3, -1, -1), "either": Bar(1, 0.5, 3)}
    bars = {name: {"click": bar} for name, bar in networks.items()}
    axes = run_figures.seesaw(["click"], bars, 0.1).axes[0]
    *drawn, band = axes.patches
    assert [bar.get_width() for bar in drawn] == [2.0, -2.0, 1.0]
    assert band.get_width() == pytest.approx(0.2)
    up, down, either = (bar.get_facecolor() for bar in drawn)
    assert len({up, down, either}) == 3
    assert [label.get_text() for label in axes.get_yticklabels()] == list(networks)
    assert axes.get_title("left") == "click"


def test_a_task_whose_gains_are_large_does_not_flatten_the_others():
    bars = {"click": Bar(0.1, 0.0, 0.2), "like": Bar(20.0, -40.0, 60.0)}
    small, large = run_figures.seesaw(TASKS, {"mmoe": bars}, 0.1).axes
    assert small.get_xlim()[1] < 0.5 < 60.0 < large.get_xlim()[1]


def test_no_scale_makes_much_of_what_is_not_relevant():
    bars = {"click": Bar(0.001, 0.0, 0.002), "like": Bar(-0.001, -0.002, 0.0)}
    for panel in run_figures.seesaw(TASKS, {"mmoe": bars}, 0.1).axes:
        low, high = panel.get_xlim()
        assert low <= -0.2 and high >= 0.2


def test_many_networks_and_tasks_fit_on_a_page():
    tasks, bar = [f"task {i}" for i in range(9)], Bar(1.0, 0.0, 2.0)
    figure = run_figures.seesaw(tasks, {str(i): dict.fromkeys(tasks, bar) for i in range(20)}, 0.1)
    width, height = figure.get_size_inches()
    assert width <= 10 and height <= 10


def test_names_of_near_points_lie_apart():
    points = {name: (1e6, 1.0) for name in "abc"}
    names = run_figures.front(points, {"a"}).axes[0].texts
    heights = sorted(text.get_position()[1] for text in names)
    assert min(b - a for a, b in pairwise(heights)) >= 10


def test_an_affinity_has_groups_side_by_side_and_leaves_unknown_pairs_empty():
    cosines = np.array([[1, -0.5, 0.9], [-0.5, 1, math.nan], [0.9, math.nan, 1]])
    axes = run_figures.affinity(["a", "b", "c"], cosines, [[0, 2], [1]]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b"]
    texts = sorted(text.get_text() for text in axes.texts)
    assert texts == sorted(["1.00"] * 3 + ["0.90"] * 2 + ["-0.50"] * 2)
    frames = [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in axes.patches]
    assert frames == [(-0.5, -0.5, 2, 2), (1.5, 1.5, 1, 1)]


def test_a_saved_picture_has_the_pixels_of_savefig(tmp_path):
    saved = run_figures.save(run_figures.training_curves(HISTORY), tmp_path / "saved.png")
    figure = run_figures.training_curves(HISTORY)
    figure.savefig(tmp_path / "plain.png", dpi=130, facecolor="white")
    pixels, plain = (matplotlib.image.imread(path) for path in (saved, tmp_path / "plain.png"))
    assert np.array_equal(pixels, plain)
    vector = run_figures.save(figure, tmp_path / "saved.svg").read_text()
    assert "<svg" in vector
