"""Where a mismatch of the sample ratio sits: a search through all that was logged of the units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import stats

from fulcrum.features.errors import listed
from fulcrum.features.values.text import is_id, text
from fulcrum.pipelines.ab.analysis.facts import Check
from fulcrum.pipelines.ab.analysis.sentences import p
from fulcrum.pipelines.ab.log.columns import ARM, UNIT
from fulcrum.pipelines.ab.log.units import Units
from fulcrum.pipelines.ab.statistics import sample_ratio
from fulcrum.pipelines.ab.statistics.multiplicity import holm

NEAR = 0.01
"""p-value of a sample ratio below which the search is made."""
FOUND = 0.05
"""Adjusted p-value below which a value is named."""
FEWEST = 30
"""Units that a value must have."""
MOST = 50
"""Values of a column that are looked at, those with most units; numbers with more are dealt into
`BINS` ranges of equally many units."""
BINS = 10
STEADY = 0.99
"""Share of the units that must have one value in all their rows: only such a column is a property
of the unit. What arms show differs between arms in any test."""

VALUE = "value"


@dataclass(frozen=True)
class Suspect:
    """The units with one value of a column, against all others."""

    column: str
    value: str
    counts: dict[str, int]
    """Of those units, by arm."""
    others: dict[str, int]
    p_value: float
    """That the shares of arms are the same in both, by Pearson's chi-square."""


def located(check: Check, units: Units, shares: Mapping[str, float]) -> Check:
    """A check of the sample ratio with what the search found, where the ratio does not hold or
    nearly does not.

    Every value of every steady column is held against all other units (Pearson's chi-square), and
    the p-values are Holm's over all of these, so that a search through values that have nothing to
    do with it names one in 5 % of cases. Of those that stay clear, the one without which the rest
    is closest to the designed shares is named.
    """
    if check.numbers["p_value"] >= NEAR or units.logged is None:
        return check
    suspects = list(_suspects(units, units.logged, shares))
    if not suspects:
        return replace(
            check, sentence=f"{check.sentence} No column is a property of units to look at."
        )
    adjusted = holm([suspect.p_value for suspect in suspects])
    clear = [one for one, q in zip(suspects, adjusted, strict=True) if q < FOUND]
    columns = len({suspect.column for suspect in suspects})
    searched = f"{len(suspects):,} values of {columns:,} columns"
    numbers = {**check.numbers, "search.values": len(suspects), "search.p_value": min(adjusted)}
    if not clear:
        words = (
            f"None of {searched} carries it (smallest {p(min(adjusted))} after Holm): it is "
            "everywhere alike, as when the deal itself or a whole arm's log is broken."
        )
        return replace(check, sentence=f"{check.sentence} {words}", numbers=numbers)
    rest = [sample_ratio.check(suspect.others, shares).p_value for suspect in clear]
    best = clear[int(np.argmax(rest))]
    due = sample_ratio.check(best.counts, shares).expected
    sizes = [f"{best.counts.get(arm, 0):,} in {arm} ({due[arm]:,.0f} due)" for arm in shares]
    whole = "as designed" if max(rest) >= NEAR else "not as designed either"
    words = (
        f"It sits in {best.column} = {best.value}: {listed(sizes)}, "
        f"{p(adjusted[suspects.index(best)])} after Holm over {searched}; without these units the "
        f"rest is {whole} ({p(max(rest))})."
    )
    numbers |= {"search.rest.p_value": max(rest)}
    return replace(check, sentence=f"{check.sentence} {words}", numbers=numbers)


def _suspects(units: Units, logged: pl.LazyFrame, shares: Mapping[str, float]) -> Iterator[Suspect]:
    arms = units.frame.lazy().select(UNIT, ARM)
    for name, dtype in logged.collect_schema().items():
        if name == UNIT or not is_id(dtype):
            continue
        rows = logged.select(UNIT, pl.col(name).alias(VALUE)).join(arms, on=UNIT)
        values = (
            rows.group_by(UNIT)
            .agg(
                pl.col(ARM).first(), pl.col(VALUE).min(), pl.col(VALUE).n_unique().alias("several")
            )
            .collect(engine="streaming")
        )
        if (values["several"] == 1).mean() >= STEADY:  # type: ignore[operator]
            yield from _of_column(name, _grouped(values, dtype), list(shares))


def _grouped(values: pl.DataFrame, dtype: pl.DataType) -> pl.DataFrame:
    """Values as text, many numbers or times as ranges."""
    column = values[VALUE]
    if (dtype.is_numeric() or dtype.is_temporal()) and column.n_unique() > MOST:
        ranks = (column.rank("min") - 1) * BINS // max(column.count(), 1)
        ends = values.with_columns(ranks.alias("bin")).with_columns(
            pl.col(VALUE).min().over("bin").alias("low"),
            pl.col(VALUE).max().over("bin").alias("high"),
        )
        words = pl.concat_str(
            text(pl.col("low"), dtype), pl.lit(" to "), text(pl.col("high"), dtype)
        )
        return ends.select(ARM, words.alias(VALUE))
    return values.select(ARM, text(pl.col(VALUE), dtype))


def _of_column(name: str, values: pl.DataFrame, arms: list[str]) -> Iterator[Suspect]:
    table = values.with_columns(pl.col(VALUE).fill_null("null")).group_by(VALUE, ARM).len()
    counts = {
        str(value[0]): dict(part.select(ARM, "len").iter_rows())
        for value, part in table.group_by(VALUE)
    }
    whole = np.array([sum(by_arm.get(arm, 0) for by_arm in counts.values()) for arm in arms])
    if all(len(by_arm) == 1 for by_arm in counts.values()):
        return  # the arm under another name, such as its model's
    largest = sorted(counts, key=lambda value: (-sum(counts[value].values()), value))[:MOST]
    for value in largest:
        inside = np.array([counts[value].get(arm, 0) for arm in arms])
        outside = whole - inside
        if min(inside.sum(), outside.sum()) < FEWEST or not (inside + outside).all():
            continue
        p_value = float(
            stats.chi2_contingency(np.stack([inside, outside]), correction=False).pvalue
        )
        here, there = (dict(zip(arms, map(int, s), strict=True)) for s in (inside, outside))
        yield Suspect(name, value, here, there, p_value)
