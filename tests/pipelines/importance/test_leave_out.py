"""The config of a training without some features."""

from fulcrum.features.declared.data import DataConfig
from fulcrum.pipelines.importance.leave_out import _without
from tests.pipelines.small_runs import small_run


def test_what_is_said_of_a_table_goes_with_its_last_feature():
    run = small_run(tables={"user": {"precision": "fp16"}, "item": {"sharding": "row_wise"}})
    user = run.features["user"]
    data = DataConfig.model_validate({"events": "log.parquet", "split": {"kind": "order"}})
    features = {"user": user, "item": user, "other": user}
    run = run.model_copy(update={"features": features, "data": data})
    without = _without(run, ["user"])
    assert without.train == small_run(tables={"item": {"sharding": "row_wise"}}).train
