"""Which arm of an A/B test a row was logged in, and whose row it is."""

from collections.abc import Callable

import polars as pl
from pydantic import Field

from fulcrum.features.config import Config
from fulcrum.features.errors import DataError
from fulcrum.features.values.text import key_text

ARM, UNIT = "row.arm", "row.unit"
"""Columns of prepared rows, String. The arm is null for a row that is no part of the test."""
WINDOW = "row.window"
"""Column of prepared rows, Int32, where shares changed: how often before the row happened."""
EXAMPLES = 3


class ArmsConfig(Config):
    """The A/B test in the log. Prepared rows keep both columns beside their weight."""

    column: str
    """Column of the arm's name; null for rows from before the test, or of users outside it."""
    unit: str
    """Column that says who was randomised, for example `user_id`."""
    changes: tuple[str, ...] = Field((), exclude_if=lambda changes: not changes)
    """Times in ISO 8601 at which the shares of the arms were changed, as in a ramp-up: the weight
    of a row is made of the shares of its window. Needs `data.time`."""


def arm_columns(arms: ArmsConfig, dtype: Callable[[str], pl.DataType]) -> list[pl.Expr]:
    """Expressions of `row.arm` and `row.unit`; `dtype` gives the type of a column."""
    names = {ARM: arms.column, UNIT: arms.unit}
    return [key_text(pl.col(name), dtype(name)).alias(target) for target, name in names.items()]


def check_arms(rows: pl.LazyFrame, arms: ArmsConfig) -> None:
    """Look at the staged rows of the test.

    Raises DataError for a row of an arm without a unit, fewer than two arms, and units in several
    arms, which learn from each other whatever the weights.
    """
    test = rows.filter(pl.col(ARM).is_not_null())
    names = test.select(pl.col(ARM).unique().sort()).collect()[ARM].to_list()
    if len(names) < 2:
        content = f"only `{names[0]}`" if names else "only nulls"
        raise DataError(f"data.arms.column: `{arms.column}` holds {content}; expected two arms")
    without = test.select(pl.col(UNIT).is_null().sum()).collect().item()
    if without:
        raise DataError(
            f"data.arms.unit: `{arms.unit}` names nobody (null, NaN or empty) in {without} rows of "
            "an arm; expected who was randomised (`data.where` can leave rows out)"
        )
    units = test.group_by(UNIT).agg(pl.col(ARM).unique().sort())
    overlap = units.filter(pl.col(ARM).list.len() > 1)
    count = overlap.select(pl.len()).collect().item()
    if count:
        first = overlap.sort(UNIT).head(EXAMPLES).collect().rows()
        examples = "; ".join(f"`{unit}` in {', '.join(in_arms)}" for unit, in_arms in first)
        raise DataError(
            f"data.arms: {count} units are in several arms ({examples}); expected one arm for each "
            f"`{arms.unit}` (`data.where` can leave such units out)"
        )
