"""Where gradients are compared: what is counted, and that the places differ as the page says."""

import dataclasses

import pytest
import torch

from benchmarks.conflicts import (
    EQUAL,
    PLACES,
    STUDIES,
    TRUTH,
    Finding,
    Study,
    configured,
    cosines,
    findings,
    hurts,
    look,
    picture,
    run,
    upgrad_weights,
)
from fulcrum.features.prepared.prepare import prepare as prepare_features
from fulcrum.testing.layouts import binary_tasks
from tests.models.debug import debug_model
from tests.prepared import LAYOUT, prepare

TWO = LAYOUT.model_copy(update={"tasks": binary_tasks(2)})


def test_an_update_hurts_where_its_cosine_is_negative():
    """g_1 · d = 1 - 2 with equal weights; UPGrad projects until no product is negative."""
    conflict = torch.tensor([[1.0, -2.0], [-2.0, 10.0]]).double()
    assert hurts(conflict, torch.ones(2).double())
    assert not hurts(conflict, upgrad_weights(TWO, conflict))
    assert not hurts(conflict.abs(), torch.ones(2).double())


def test_cosines_are_those_of_every_pair():
    """√(4 · 9) = 6 and √(4 · 25) = 10."""
    products = torch.tensor([[4.0, 3.0, -5.0], [3.0, 9.0, 0.0], [-5.0, 0.0, 25.0]])
    torch.testing.assert_close(cosines(products[None]), torch.tensor([3 / 6, -5 / 10, 0.0]))


def test_a_place_without_conflicts_in_it_helps_nobody():
    """UPGrad then gives equal weights, whose updates hurt at one look of two."""
    true = torch.tensor([[[1.0, -2.0], [-2.0, 10.0]], [[1.0, 0.5], [0.5, 1.0]]]).double()
    blind = torch.eye(2).double().expand_as(true)
    products = torch.stack([true if place == TRUTH else blind for place in PLACES], 1)
    by_place = {f.place: f for f in findings(TWO, products, "all", 512, 0)}
    assert list(by_place) == [EQUAL, *PLACES]
    assert by_place[EQUAL].conflicts == by_place["rows"].conflicts == 1 / 2
    assert by_place[TRUTH].conflicts == 0 and by_place[TRUTH].same_sign == 1
    assert by_place[TRUTH].correlation == pytest.approx(1)


def test_a_small_study_on_any_data(tmp_path):
    dataset = prepare(tmp_path, {"train": 64})
    model, study = debug_model("mmoe"), Study(steps=5, every=2, buckets=256)
    products = look(dataset, model, 16, 0, study)
    tasks = len(LAYOUT.tasks)
    assert products.shape == (3, len(PLACES), tasks, tasks)
    _, _, dense, rows, sketch, sketch_dense, true = products.unbind(1)
    torch.testing.assert_close(true, rows + dense)
    torch.testing.assert_close(sketch_dense, sketch + dense)
    trainings = run({"some": dataset}, model, {16: study}, 2)
    assert len(trainings) == 2 * (1 + len(PLACES)) and {f.looks for f in trainings} == {3}
    assert len(picture(trainings).axes) == 2


@pytest.mark.slow
def test_the_sketch_is_near_the_truth_and_rows_alone_are_not(tmp_path):
    """Categorical features of the shipped feedback, and a fifth of the study's steps."""
    config = configured()["categorical"]
    dataset = prepare_features(config, tmp_path)
    study = dataclasses.replace(STUDIES[2048], steps=50)
    products = look(dataset, config.model, 2048, 0, study)
    by_place: dict[str, Finding] = {
        f.place: f for f in findings(dataset.state.layout, products, "categorical", 2048, 0)
    }
    correlation = {place: by_place[place].correlation for place in PLACES}
    assert correlation["sketch + dense"] > 0.99
    assert correlation["sketch"] == pytest.approx(correlation["rows"], abs=0.03)
    assert max(correlation["per_sample"], correlation["batch_sum"]) < correlation["rows"]
    assert by_place["sketch + dense"].conflicts <= by_place["per_sample"].conflicts
