import polars as pl

from tests.pipelines.ab.metrics.contract import MetricContract


class TestMean(MetricContract):
    kind, settings = "mean", {"value": "watch"}

    def by_hand(self, log: pl.DataFrame) -> float:
        return log["watch"].sum() / log["user_id"].n_unique()
