"""What is said of a network beside boosting follows from the interval that stands beside it."""

import pytest

from fulcrum.pipelines.baseline.baseline import Baseline, Lead, sentences
from fulcrum.pipelines.quality.differences import Difference


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (Difference(0.02, 0.01, 0.03), "mmoe beats boosting"),
        (Difference(-0.02, -0.03, -0.01), "mmoe falls short of boosting"),
        (Difference(0.02, -0.01, 0.05), "mmoe and boosting cannot be told apart"),
        (Difference(-0.02, -0.05, 0.01), "mmoe and boosting cannot be told apart"),
        (Difference(0.02, None, None), "mmoe and boosting cannot be told apart"),
    ],
)
def test_a_sentence_claims_no_more_than_its_interval(gap, words):
    leads = {"click": Lead("auc", 0.75, 0.75 - gap.value, gap)}
    metrics = {"mmoe": {}, "boosting": {}, "constant": {}}
    [line] = sentences(Baseline("mmoe on 9 rows", ("click",), metrics, leads))
    assert line.startswith(f"click: {words}: AUC 0.7500 against {0.75 - gap.value:.4f}, ")
    ends = "" if gap.low is None else f" ({gap.low:+.4f} to {gap.high:+.4f})"
    assert line.endswith(f", {gap.value:+.4f}{ends}, above 0 is better")


def test_few_positive_rows_tell_nothing():
    leads = {"hate": Lead("auc", 0.85, 0.49, Difference(0.36, 0.1, 0.68))}
    metrics = {"mmoe": {"positives/hate": 13.0}, "boosting": {}, "constant": {}}
    [line] = sentences(Baseline("mmoe on 9 rows", ("hate",), metrics, leads))
    assert line.startswith("hate: 13 positive rows are too few to tell mmoe and boosting apart: ")
