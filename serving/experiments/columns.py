"""Columns of the three tables of an experiment's log."""

from collections.abc import Iterable, Mapping

import polars as pl

Schema = Mapping[str, pl.DataType]

TIME = pl.Datetime("us", "UTC")
ASSIGNMENT: Schema = {
    "unit": pl.String(),
    "arm": pl.String(),
    "instance": pl.Int32(),
    "time": TIME,
}
"""A unit's first assignment, whether or not anything was shown."""
EXPOSURE: Schema = {
    "request": pl.String(),
    "row": pl.Int32(),
    "time": TIME,
    "unit": pl.String(),
    "arm": pl.String(),
    "instance": pl.Int32(),
    "model": pl.String(),
    "version": pl.String(),
}
"""A row that was answered; the request's own columns and the scores follow."""
OUTCOME: Schema = {"request": pl.String(), "row": pl.Int32(), "time": TIME}
"""What became of such a row; a column for each of the experiment's `outcomes` follows."""
TABLES = ("assignments", "exposures", "outcomes")
SCORE = "score."
"""Before the name of a task."""


def schemas(columns: Schema, outcomes: Iterable[str]) -> dict[str, Schema]:
    """All columns of each table, where `columns` are those of the request and the scores."""
    return {
        "assignments": ASSIGNMENT,
        "exposures": {**EXPOSURE, **columns},
        "outcomes": {**OUTCOME, **dict.fromkeys(outcomes, pl.Float64())},
    }


def logged_name(column: str, outcomes: Iterable[str]) -> str:
    """The name under which a column of the request is logged: its own, with `row.` in front where
    the log has one of that name."""
    clashes = column in EXPOSURE or column in outcomes or column.startswith(SCORE)
    return f"row.{column}" if clashes else column
