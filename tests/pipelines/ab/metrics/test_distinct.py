import polars as pl

from tests.pipelines.ab.metrics.contract import MetricContract


class TestDistinct(MetricContract):
    kind, settings = "distinct", {"value": "item"}

    def by_hand(self, log: pl.DataFrame) -> float:
        return len(log.unique(["user_id", "item"])) / log["user_id"].n_unique()
