"""What stands beside the metrics of a run."""

from dataclasses import replace

import numpy as np
import pytest

from fulcrum.pipelines.quality.evidence import evidence
from fulcrum.pipelines.quality.metrics import measure
from fulcrum.pipelines.quality.pulls import interval, with_pulls
from tests.pipelines.quality.scored_rows import JUDGED, predictions


def test_it_is_positives_units_and_the_interval_of_what_a_task_is_judged_by():
    rows = predictions(rows=200, groups=20)
    facts, samples = evidence(rows), with_pulls(rows)
    assert facts["units"] == 20
    positive = (rows.labels[:, 0] > 0) & rows.observed[:, 0]
    assert facts["positives/click"] == positive.sum()
    for task, metric in JUDGED:
        ends = (facts[f"{metric}_low/{task}"], facts[f"{metric}_high/{task}"])
        assert ends == interval(samples[task, metric])
    assert len(facts) == 1 + 1 + 2 * len(JUDGED)


def test_few_positives_have_wide_intervals():
    rows = predictions(rows=2000, groups=400)
    rare = rows.labels.copy()
    rare[np.flatnonzero(rare[:, 0])[8:], 0] = 0
    width = {
        name: np.subtract(*(evidence(which)[f"auc_{end}/click"] for end in ("high", "low")))
        for name, which in {"many": rows, "rare": replace(rows, labels=rare)}.items()
    }
    assert width["rare"] > 3 * width["many"]


def test_no_end_is_beyond_what_a_metric_can_be():
    """Two positives, the better one above all other rows; and one user whose error is large."""
    rows = predictions(rows=60, groups=None)
    labels, scores = np.zeros_like(rows.labels), np.zeros_like(rows.scores)
    scores[:, 0] = np.linspace(0, 1, 60)
    labels[[40, 59], 0], labels[0, 1] = 1, 1000
    odd = replace(rows, labels=labels, scores=scores, observed=np.ones((60, 3), bool))
    ends, facts = interval(with_pulls(odd)["click", "auc"]), evidence(odd)
    assert ends[1] > 1 == facts["auc_high/click"]
    assert facts["auc_low/click"] == pytest.approx(ends[0])
    assert 0 <= facts["rmse_low/watch"] < measure(odd)["rmse/watch"] < facts["rmse_high/watch"]
