"""Segments whose scores are wrong are found, and no others."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fulcrum.features.layout import TaskSpec
from fulcrum.pipelines.calibration.segments import EVENTS, SCHEMA, USERS, judged
from fulcrum.pipelines.quality.alarms import segment_warnings
from fulcrum.pipelines.quality.predictions import TaskRows

CLICK = TaskSpec(name="click", kind="binary")


def rows(
    users: int, per_user: int, seed: int = 0, spread: float = 0.15
) -> tuple[TaskRows, np.ndarray]:
    """Scores that are right; a user's rows share a deviation, so they are no independent rows."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(users), per_user)
    score = random.uniform(0.3, 0.7, users * per_user)
    label = random.random(len(unit)) < score + random.uniform(-spread, spread, users)[unit]
    weight = random.choice([0.0, 1.0, 2.0], len(unit))
    zeros = np.zeros(len(unit), np.int64)
    return TaskRows(CLICK, score, zeros * 0.0, label * 1.0, weight, unit, zeros, zeros == 0), unit


def test_p_values_of_scores_that_are_right_are_uniform() -> None:
    """However many rows a user has: of 300 segments as many are below 5 % as chance allows."""
    p = []
    for seed in range(30):
        of_task, unit = rows(600, 8, seed)
        p += [facts["p"] for _, facts in judged(of_task, unit % 10, unit)]
    assert len(p) == 300
    low, high = stats.binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= np.sum(np.array(p) < 0.05) <= high


def test_facts_of_a_segment_by_hand() -> None:
    of_task, unit = rows(100, 3)
    segment = np.where(unit < 60, 7, 8)
    found = dict(judged(of_task, segment, unit))
    assert list(found) == [7, 8]
    inside = segment == 7
    weight = of_task.weight[inside]
    score, label = of_task.scores[inside], of_task.labels[inside]
    facts = found[7]
    assert facts["rows"] == np.sum(weight > 0)
    assert facts["users"] == len(np.unique(unit[inside][weight > 0]))
    assert facts["mean_score"] == pytest.approx(np.average(score, weights=weight))
    assert facts["mean_label"] == pytest.approx(np.average(label, weights=weight))


def test_a_segment_that_is_off_is_found_and_small_ones_are_not_judged() -> None:
    of_task, unit = rows(2_000, 2)
    segment = unit % 5
    segment[unit < USERS - 1] = 9
    of_task.scores[segment == 3] += 0.2
    found = dict(judged(of_task, segment, unit))
    assert list(found) == [0, 1, 2, 3, 4]
    assert min(found, key=lambda value: found[value]["p"]) == 3
    assert found[3]["p"] < 1e-6
    of_task.scores[:] = EVENTS / 10 / len(unit)
    assert not list(judged(of_task, segment, unit))


def line(**facts: object) -> dict[str, object]:
    whole = {
        "task": "click",
        "feature": "tab",
        "value": "3",
        "rows": 12_345,
        "users": 678,
        "mean_score": 0.5,
        "mean_label": 0.4,
        "p": 0.0001,
        "adjusted": 0.002,
    }
    return {**whole, **facts}


@pytest.mark.parametrize(
    ("facts", "alarms"),
    [
        ({}, True),
        ({"adjusted": 0.06}, False),  # by chance
        ({"mean_score": 0.43}, False),  # certain, and 7.5 % off
        ({"mean_score": 0.3}, True),
    ],
)
def test_an_alarm_takes_both_certainty_and_size(facts: dict[str, object], alarms: bool) -> None:
    lines = segment_warnings(pl.DataFrame([line(**facts)], schema=SCHEMA))
    assert len(lines) == alarms
    if alarms:
        assert "where tab is 3 and turns out 0.4 (12,345 rows of 678 users; p = 0.002" in lines[0]
