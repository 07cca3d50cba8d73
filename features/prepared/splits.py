"""What rows and labels each split has, and whether a model can be learned and measured there."""

import logging
from typing import Any

import polars as pl

from fulcrum.features.errors import DataError
from fulcrum.features.spec import FeatureSpec

logger = logging.getLogger(__name__)

SPLIT = "row.split"
Facts = dict[str | None, dict[str, Any]]


def count(rows: pl.LazyFrame, spec: FeatureSpec) -> Facts:
    """By split (None for no split): rows, and per task what is observed and positive, and positive
    where the task that it is given is not."""
    counts = rows.group_by(SPLIT).agg(
        pl.len().alias("rows"),
        *(pl.col(f"observed.{task}").sum() for task in spec.tasks),
        *((pl.col(f"label.{task}") > 0).sum().alias(f"positives.{task}") for task in binary(spec)),
        *(
            (
                (pl.col(f"label.{task}") > 0)
                & pl.col(f"observed.{parent}")
                & (pl.col(f"label.{parent}") == 0)
            )
            .sum()
            .alias(f"broken.{task}")
            for task, parent in _parents(spec).items()
        ),
    )
    return {row.pop(SPLIT): row for row in counts.collect().iter_rows(named=True)}


def check_splits(facts: Facts, spec: FeatureSpec) -> None:
    """Raises DataError for a split that nothing can be learned from or measured on."""
    sizes = {split: counts["rows"] for split, counts in facts.items() if split is not None}
    for split in spec.data.split.names:
        if split not in facts:
            raise DataError(f"data.split: no row falls into `{split}` (rows by split: {sizes})")
        for task in spec.tasks:
            if not facts[split][f"observed.{task}"]:
                early = "; its outcomes were not known when the log ended"
                why = early if task in spec.unripe else ""
                _refuse(split, f"tasks.{task}: no label is observed in the {split} split{why}")
        for task in binary(spec):
            positives, observed = (facts[split][f"{w}.{task}"] for w in ("positives", "observed"))
            if positives in (0, observed):
                only = "1" if positives else "0"
                _refuse(
                    split,
                    f"tasks.{task}: every label in the {split} split is {only} ({observed} rows); "
                    "both classes are needed",
                )


def check_chains(facts: Facts, spec: FeatureSpec) -> None:
    """Tells of labels that deny their own chain. Logs do so in a few rows, hence no error."""
    for task, parent in _parents(spec).items():
        broken, positives = (
            sum(counts[f"{what}.{task}"] for counts in facts.values())
            for what in ("broken", "positives")
        )
        if broken:
            logger.warning(
                "tasks.%s.given: in %d of the %d rows with `%s` there is no `%s`, as if the one "
                "did not need the other",
                *(task, broken, positives, task, parent),
            )


def _refuse(split: str, message: str) -> None:
    """An error, except in the validation split, which only loses the metrics of that task."""
    if split != "valid":
        raise DataError(message)
    logger.warning("%s", message)


def binary(spec: FeatureSpec) -> list[str]:
    return [name for name, task in spec.tasks.items() if task.two_classes]


def _parents(spec: FeatureSpec) -> dict[str, str]:
    """By chained task, the one that must happen first."""
    return {name: task.parent for name, task in spec.tasks.items() if task.parent is not None}
