"""What lets the law of all arms into a model is told."""

from types import SimpleNamespace

import pytest

from fulcrum.pipelines.runs.arm_leaks import cautions
from tests.pipelines.designs.worlds import run
from tests.prepared import LAYOUT

DATASET = SimpleNamespace(state=SimpleNamespace(layout=LAYOUT))
PLAIN = {"item": {"kind": "categorical"}, "price": {"kind": "numeric"}}
HOME = {"architecture": "home", "levels": [[16], [8]], "rank": 4}
SHARED = {"architecture": "shared_bottom", "hidden": [8]}


def told(folder, **changes):
    return cautions(run(folder, **({"features": PLAIN, "model": SHARED} | changes)), DATASET)


def test_a_model_without_leaks_is_not_warned_of(tmp_path):
    assert told(tmp_path) == []


def test_batch_normalisation_is_warned_of(tmp_path):
    (warning,) = told(tmp_path, model=HOME)
    assert warning.startswith("Warning: the model normalises over the batch")
    assert told(tmp_path, model=HOME | {"normalise": False}) == []


def test_the_unit_among_the_models_features_is_warned_of(tmp_path):
    features = PLAIN | {"who": {"kind": "categorical", "column": "user_id"}}
    (warning,) = told(tmp_path, features=features)
    assert "reads the unit `user_id` (`who`)" in warning and "no longer exact" in warning


def test_a_weighting_that_learns_from_sessions_is_warned_of(tmp_path):
    (warning,) = told(tmp_path, weighting={"method": "rmtl"})
    assert warning.startswith("Warning: `weighting: rmtl` learns from whole sessions")


@pytest.mark.parametrize("design", ["splitting", "snapshot"])
def test_other_designs_leak_by_the_batch_too(design, tmp_path):
    by = {"design": design, "arm": "treatment"}
    assert len(told(tmp_path, model=HOME, experiment_design=by)) == 1


def test_pooling_is_meant_to_learn_from_all_arms(tmp_path):
    by = {"design": "pooling", "arm": "treatment"}
    assert told(tmp_path, model=HOME, experiment_design=by) == []
    assert told(tmp_path, model=HOME, experiment_design=None) == []
