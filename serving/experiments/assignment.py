"""Who is in which arm: a stable hash of the unit, so nobody has to be remembered.

Three hashes, independent of one another, decide whether a unit takes part, in which arm, and which
instance of the arm's model answers. So raising `traffic` brings new units in and moves none that
take part, and neither depends on how many instances there are.
"""

import json
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.values.hashing import bucket, hash64
from fulcrum.features.values.text import text
from fulcrum.serving.experiments.experiment import ExperimentConfig


def assign(units: pl.Expr, experiment: ExperimentConfig) -> pl.Expr:
    """String name of each unit's arm from its text; null outside `traffic`, and for null.

    Arms follow one another by name along [0, 1), each as long as its share; the unit is in the one
    where its hash falls. What order the YAML lists them in does not matter.
    """
    names = sorted(experiment.arms)
    bounds = list(accumulate(experiment.arms[name].share for name in names))
    place = _uniform(units, f"{_salt(experiment)}:arm")
    # The last bound is 1 but for rounding.
    arm = pl.lit(names[-1])
    for name, bound in reversed(list(zip(names[:-1], bounds[:-1], strict=True))):
        arm = pl.when(place < bound).then(pl.lit(name)).otherwise(arm)
    inside = _uniform(units, f"{_salt(experiment)}:traffic") < experiment.traffic
    return pl.when(inside).then(arm)


def instance(units: pl.Expr, arms: pl.Expr, experiment: ExperimentConfig) -> pl.Expr:
    """Int32 number, from 0, of the model instance that answers each unit in its arm; null where the
    arm is."""
    salt = f"{_salt(experiment)}:instance"
    number = pl.lit(None, pl.Int64)
    for name, arm in experiment.arms.items():
        dealt = bucket(units, max(len(arm.models), 1), salt)
        number = pl.when(arms == name).then(dealt).otherwise(number)
    return number.cast(pl.Int32)


def unit_texts(values: Sequence[Any], at: str) -> pl.Series:
    """String unit of each JSON value, so that 42, 42.0 and "42" are one unit.

    Raises DataError, with `at` and the number of the value, for what names nobody."""
    for place, value in enumerate(values):
        if not _names_somebody(value):
            raise DataError(
                f"{at.format(place)}: expected a text or a number that says who it is, "
                f"got {json.dumps(value)[:80]}"
            )
    kinds = {
        "text": (str, pl.String()),
        "whole": (int, pl.Int64()),
        "number": (float, pl.Float64()),
    }
    frame = pl.DataFrame(
        {
            name: pl.Series([v if isinstance(v, kind) else None for v in values], dtype=dtype)
            for name, (kind, dtype) in kinds.items()
        }
    )
    texts = [text(pl.col(name), dtype) for name, (_, dtype) in kinds.items()]
    return frame.select(unit=pl.coalesce(texts))["unit"]


def _names_somebody(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) == len(value.encode("utf-16", "ignore").decode("utf-16"))
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _uniform(units: pl.Expr, salt: str) -> pl.Expr:
    """Float64 in [0, 1): the upper 53 bits of the hash, all that a float holds."""
    upper = hash64(units, salt) // pl.lit(2**11, pl.UInt64)
    return upper.cast(pl.Float64) * 2.0**-53


def _salt(experiment: ExperimentConfig) -> str:
    return experiment.salt or experiment.name
