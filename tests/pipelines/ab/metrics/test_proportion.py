import polars as pl

from tests.pipelines.ab.metrics.contract import MetricContract


class TestProportion(MetricContract):
    kind, settings = "proportion", {"value": "click"}

    def by_hand(self, log: pl.DataFrame) -> float:
        clicked = log.filter(pl.col("click") > 0)["user_id"].n_unique()
        return clicked / log["user_id"].n_unique()
