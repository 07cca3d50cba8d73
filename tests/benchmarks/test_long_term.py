"""Sessions with a planted long-term return: the world, what is measured, and that RMTL helps."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.long_term import (
    BASELINE,
    EARLY,
    GAMMA,
    LONGEST,
    MEASURES,
    METHODS,
    SHORTEST,
    TUNED,
    Sessions,
    Study,
    World,
    change,
    measure,
    picture,
    run,
    table_rows,
    teach,
)
from fulcrum.models.step import Rows
from fulcrum.models.weightings import Setting, StaticConfig, Weighting

TINY = Study(seeds=2, sessions=20, test=20, batch_size=64, pretraining=1, epochs=1)
RETURN = MEASURES.index("return")


def test_sessions_are_whole_and_in_order():
    data = World(0).draw(50)
    lengths = data.session.bincount()
    assert (lengths >= SHORTEST).all() and (lengths <= LONGEST).all()
    assert data.place.tolist() == [t for n in lengths.tolist() for t in range(n)]


def test_labels_follow_the_planted_directions():
    """Early rows correlate with their direction and not with the late one, and the other way
    round; the bound is five standard errors."""
    world = World(1)
    data = world.draw(4000)
    for part, direction, other in ((data.place < EARLY, 0, 1), (data.place >= EARLY, 1, 0)):
        x, y = data.x[part, :-1], data.y[part]
        within = 5 / len(x) ** 0.5
        for task in range(2):
            along = [float(np.corrcoef(x @ world.w[e, :, task], y[:, task])[0, 1]) for e in (0, 1)]
            assert along[direction] > 0.5 and abs(along[other]) < within


def test_the_return_by_hand():
    """A network that says 1/2 loses log 2 in every row: two sessions of 2 rows and 1."""
    place = torch.tensor([0, 1, 0])
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    data = Sessions(torch.zeros(3, 9), labels[[0, 1, 1]], torch.tensor([0, 0, 1]), place)
    undecided = torch.nn.Linear(9, 2)
    torch.nn.init.zeros_(undecided.bias)
    measures = dict(zip(MEASURES, measure(undecided, data), strict=True))
    assert measures["return"] == pytest.approx(-np.log(2) * (1 + GAMMA + 1) / 2)
    assert measures["log_loss"] == pytest.approx(np.log(2))
    assert measures["auc"] == measures["early_auc"] == 0.5


def test_lessons_are_whole_sessions():
    rows_of_lessons: list[Rows] = []

    class Pupil(Weighting):
        def lessons(self, epoch: int) -> int:
            return 2 * epoch

        def learn(self, rows: Rows) -> None:
            rows_of_lessons.append(rows)

    data = World(2).draw(30)
    pupil = Pupil(StaticConfig(), Setting(()))
    teach(pupil, torch.nn.Linear(data.x.shape[1], 2), data, TINY)
    index = torch.cat([rows.index for rows in rows_of_lessons])
    assert torch.equal(index.bincount(), torch.full((len(data.x),), 2))
    for lesson in rows_of_lessons:
        starts = torch.cat([torch.tensor([True]), lesson.session.diff() != 0])
        assert (data.place[lesson.index[starts]] == 0).all()
        assert (lesson.index.diff()[~starts[1:]] == 1).all()


def test_a_small_study_has_a_table_and_a_picture():
    results = run(TINY, {"2 units": {"units": 2}})
    assert {name for _, name in results} == {*METHODS, TUNED}
    means, widths = change(results, "2 units", BASELINE)
    assert not means.any() and not widths.any()
    assert len(list(table_rows(results))) == TINY.seeds * len(results)
    assert len(picture(results).axes) == len(MEASURES)
    assert run(TINY, {"2 units": {"units": 2}}) == results


@pytest.mark.slow
def test_rmtl_gains_return_where_the_network_is_too_small():
    study = dataclasses.replace(Study(), seeds=5)
    results = run(study, {"2 units": {"units": 2}})
    means, widths = change(results, "2 units", "rmtl")
    assert means[RETURN] - widths[RETURN] > 0
    tuned, width = change(results, "2 units", TUNED)
    assert means[RETURN] - widths[RETURN] > tuned[RETURN] + width[RETURN]
