"""Specs and states for tests, from plain dictionaries."""

from typing import Any

import polars as pl

from fulcrum.features.spec import FeatureSpec
from fulcrum.features.transform.fit import fit
from fulcrum.features.transform.past import Gathered
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import transform

TASKS = {"click": {"kind": "binary", "label": "click"}}


def make_spec(
    features: dict[str, Any],
    data: dict[str, Any] | None = None,
    tasks: dict[str, Any] | None = None,
) -> FeatureSpec:
    return FeatureSpec.model_validate(
        {
            "data": {"events": "unused", "split": {"kind": "order"}} | (data or {}),
            "features": features,
            "tasks": tasks or TASKS,
        }
    )


def learn(train: pl.DataFrame, features: dict[str, Any], **rest: Any) -> FeatureState:
    """Fit on the rows, which are their own past, too. A task `click` is made up where missing."""
    if "click" not in train.columns:
        train = train.with_columns(click=pl.lit(1, pl.Int8))
    spec = make_spec(features, **rest)
    return fit(train.lazy(), train.lazy() if spec.data.time else None, spec)


def encode(
    rows: pl.DataFrame, state: FeatureState, past: pl.DataFrame | Gathered | None = None
) -> pl.DataFrame:
    return transform(rows, state, past.lazy() if isinstance(past, pl.DataFrame) else past)


def ids(train: pl.DataFrame, rows: pl.DataFrame, feature: dict[str, Any]) -> list[Any]:
    """What one feature called `f` makes of column `f` of the rows."""
    return encode(rows, learn(train, {"f": feature}))["f"].to_list()
