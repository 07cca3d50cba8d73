"""Kinds of metrics, by name."""

from typing import TYPE_CHECKING

from fulcrum.features.config import choice
from fulcrum.pipelines.ab.metrics.base import MetricConfig
from fulcrum.pipelines.ab.metrics.distinct import DistinctMetric
from fulcrum.pipelines.ab.metrics.mean import MeanMetric
from fulcrum.pipelines.ab.metrics.proportion import ProportionMetric
from fulcrum.pipelines.ab.metrics.quantile import QuantileMetric
from fulcrum.pipelines.ab.metrics.ratio import RatioMetric
from fulcrum.pipelines.ab.metrics.retention import RetentionMetric

__all__ = ["METRICS", "MetricChoice", "MetricConfig"]

METRICS: dict[str, type[MetricConfig]] = {
    "mean": MeanMetric,
    "ratio": RatioMetric,
    "proportion": ProportionMetric,
    "quantile": QuantileMetric,
    "retention": RetentionMetric,
    "distinct": DistinctMetric,
}
if TYPE_CHECKING:
    MetricChoice = MetricConfig
else:
    MetricChoice = choice(METRICS)
