from fulcrum.pipelines.ab.simulation.estimators import ESTIMATORS
from fulcrum.pipelines.designs import DESIGNS


def test_the_loop_tries_only_what_a_run_can_be_trained_by() -> None:
    """The two dictionaries stay apart: a design weighs the rows of a data set by a config's
    features in Float64, an estimator the steps of a loop as they come in Float32, with settings of
    its own. But a verdict of the loop is on a design, so its name must mean one to a run."""
    assert ESTIMATORS.keys() <= DESIGNS.keys()
