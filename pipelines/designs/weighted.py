"""`weighted`: all rows train each arm's model, weighted to the law of the arm's own rows."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from features.errors import nearest
from features.kinds.recall import RecallKind
from features.spec import FeatureSpec
from pipelines.designs.base import DesignConfig, Logged
from pipelines.identity import traces
from pipelines.propensity import PropensityConfig


class WeightedConfig(DesignConfig):
    """W = P(arm | row) / share. Of all weights that give the arm's law, those of least variance."""

    source: ClassVar[str] = "Si, 2023, arXiv 2310.17496"
    summary: ClassVar[str] = "all rows, weighted: little bias and variance, needs P(arm | row)"
    assumed: ClassVar[bool] = True

    design: Literal["weighted"] = "weighted"
    propensity: PropensityConfig

    def asks(self) -> PropensityConfig:
        return self.propensity

    def weights(self, rows: Logged) -> np.ndarray:
        assert rows.chance is not None
        weights = np.ones((len(rows.arm), len(rows.names)))
        weights[rows.test] = rows.chance / rows.shares
        return weights

    def problems(self, spec: FeatureSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from super().problems(spec)
        for place, name in enumerate(self.propensity.features):
            path = ("propensity", "features", place)
            if name not in spec.features:
                yield path, f"there is no feature `{name}`{nearest(name, spec.features)}"
                continue
            yield from ((path, message) for message in _tells(name, spec))


def _tells(name: str, spec: FeatureSpec) -> Iterator[str]:
    """Why a feature would tell the arm of a row whatever was shown."""
    if spec.data.arms is None:
        return
    arm, unit = spec.data.arms.column, spec.data.arms.unit
    behind = traces(name, (arm, unit), spec)
    if arm in behind:
        yield f"`{name}` reads the arm itself{behind[arm]}"
    if unit in behind and isinstance(spec.features[name], RecallKind):
        yield (
            f"`{name}` looks back at what `{unit}` did{behind[unit]}, and the arm chose what that "
            "was: it tells the arm whatever is shown, and weighted training collapses to splitting"
        )
    elif unit in behind:
        yield (
            f"`{name}` tells who the user is: it reads the unit `{unit}`{behind[unit]}, whose arm "
            "never changes, and weighted training collapses to splitting; expected features of the "
            "shown item and of the request"
        )
