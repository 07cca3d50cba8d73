import polars as pl

from tests.pipelines.ab.metrics.contract import MetricContract


class TestRatio(MetricContract):
    kind, settings = "ratio", {"numerator": "click"}

    def by_hand(self, log: pl.DataFrame) -> float:
        return log["click"].sum() / len(log)
