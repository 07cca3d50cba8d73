"""`weighted`: all rows train each arm's model, weighted to the law of the arm's own rows."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from fulcrum.features.errors import nearest
from fulcrum.features.spec import FeatureSpec
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.base import DesignConfig, LoggedRows
from fulcrum.pipelines.designs.identifying_features import arm_leak


class WeightedConfig(DesignConfig):
    """W = P(arm | row) / share. Of all weights that give the arm's law, those of least variance."""

    source: ClassVar[str] = "Si, 2023, arXiv 2310.17496"
    summary: ClassVar[str] = "all rows, weighted: little bias and variance, needs P(arm | row)"
    assumed: ClassVar[bool] = True

    design: Literal["weighted"] = "weighted"
    propensity: PropensityConfig

    def asks(self) -> PropensityConfig:
        return self.propensity

    def weights(self, rows: LoggedRows) -> np.ndarray:
        assert rows.chance is not None
        return rows.over_shares(rows.chance)

    def problems(self, spec: FeatureSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from super().problems(spec)
        for place, name in enumerate(self.propensity.features):
            path = ("propensity", "features", place)
            if name not in spec.features:
                yield path, f"there is no feature `{name}`{nearest(name, spec.features)}"
                continue
            if reason := arm_leak(name, spec):
                yield path, f"`{name}` {reason}: weighted training collapses to splitting"
