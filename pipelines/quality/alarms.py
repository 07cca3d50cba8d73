"""Alarms of experts and segments, in words: what is wrong, where an alarm begins, what to try.

Departures: underfitting alarms where the own experts' share of contribution_g is as low as that of
the gate, for a native weight or a self-gate serves a task as well; gates agree on an expert only
where each gives it more than `favourite`, since even gates have a largest entry too.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from fulcrum.pipelines.quality.experts import Health, LevelHealth, numbered, places, ratio

ALARMS = {
    "zero_rate": 0.90,
    "scale_ratio": 5.0,
    "gate_entropy": 0.3,
    "favourite": 2 / 3,
    "occupancy": 0.8,
    "own_mass": 0.25,
    "sparse": 0.05,
}
"""Where a warning begins. Those of `gate_entropy` and `own_mass` are lower limits; own mass alarms
for tasks with a smaller share of positives than `sparse`. Only 0.90 is HoME's, the others are
choices of this project."""
SEGMENT_OFF, SEGMENT_P = 0.10, 0.05
"""A segment alarms where its mean score is farther from its mean label than this share of it, and
less likely than this by chance, after the adjustment for all segments: a large data set makes any
difference certain, a small one makes any size of it likely."""


def warnings(health: Health) -> list[str]:
    """What is wrong with the experts of a network: a line for each alarm."""
    return [
        f"level {level.number}: {text}"
        for level in health.levels
        for text in (
            *_collapse(level),
            *_degradation(level),
            *_underfitting(level, health.rates),
        )
    ]


def segment_warnings(table: pl.DataFrame) -> list[str]:
    """Where scores are off in a part of the rows: a line for each alarm, of a table as
    `fulcrum.pipelines.calibration.segments` makes it."""
    lines = []
    for row in table.iter_rows(named=True):
        score, label = row["mean_score"], row["mean_label"]
        if row["adjusted"] < SEGMENT_P and abs(score - label) > SEGMENT_OFF * abs(label):
            lines.append(
                f"{row['task']} is scored {score:.4g} where {row['feature']} is {row['value']} and "
                f"turns out {label:.4g} ({row['rows']:,} rows of {row['users']:,} users; p = "
                f"{row['adjusted']:.2g} adjusted for {len(table):,} segments, alarm below "
                f"{SEGMENT_P} and beyond {SEGMENT_OFF:.0%}): scores are wrong there although they "
                "may be right on the whole; look for a feature that tells such rows apart"
            )
    return lines


def _collapse(level: LevelHealth) -> Iterator[str]:
    experts, gates = _ordinal(level.owners), _named(level.outputs)
    silent = level.zero_rate > ALARMS["zero_rate"]
    for e in np.flatnonzero(silent):
        yield (
            f"expert {experts[e]} is {level.zero_rate[e]:.0%} zeros (alarm above "
            f"{ALARMS['zero_rate']:.0%}): it gives its gates nothing to weigh; try "
            "`architecture: home`, which normalises experts, or a lower train.dense.lr"
        )
    active = np.flatnonzero(~silent)
    if len(active) and ratio(level.size[active]) > ALARMS["scale_ratio"]:
        most, least = (active[pick(level.size[active])] for pick in (np.argmax, np.argmin))
        yield (
            f"what expert {experts[most]} gives is {ratio(level.size[active]):.1f} times as large "
            f"as what expert {experts[least]} gives (alarm above {ALARMS['scale_ratio']:.0f}): "
            "gates cannot compare them fairly; try `architecture: home`, which normalises experts"
        )
    for g in np.flatnonzero(level.entropy < ALARMS["gate_entropy"]):
        top = level.favourite[g]
        yield (
            f"the gate of {gates[g]} puts {level.gate[g, top]:.0%} of its weight on expert "
            f"{experts[top]} (entropy {level.entropy[g]:.2f} of an even gate's, alarm below "
            f"{ALARMS['gate_entropy']}): the other experts hardly count; try model.dropout or a "
            "lower train.dense.lr"
        )
    least_weight = float(level.gate.max(1).min())
    if len(gates) > 1 and level.agreement == 1 and least_weight > ALARMS["favourite"]:
        yield (
            f"all gates put {least_weight:.0%} of their weight or more on expert "
            f"{experts[level.favourite[0]]} (alarm above {ALARMS['favourite']:.0%}): outputs "
            "hardly differ; try model.dropout, fewer experts or a lower train.dense.lr"
        )


def _degradation(level: LevelHealth) -> Iterator[str]:
    experts, occupancy = _ordinal(level.owners), level.occupancy
    for g, e in np.argwhere(occupancy > ALARMS["occupancy"]):
        yield (
            f"expert {experts[e]} is occupied by {level.outputs[g]}, from which it has "
            f"{occupancy[g, e]:.0%} of its gate weight (alarm above {ALARMS['occupancy']:.0%}): it "
            "is shared in name only; try `architecture: ple`, where tasks have experts of their own"
        )


def _underfitting(level: LevelHealth, rates: Mapping[str, float]) -> Iterator[str]:
    for task, reach in level.own_contribution.items():
        mass, rate = level.own_mass[task], rates.get(task, 1.0)
        if max(mass, reach) < ALARMS["own_mass"] and rate < ALARMS["sparse"]:
            yield (
                f"{task} ({rate:.1%} positives) gives its own experts {mass:.2f} of an even gate's "
                f"weight and gets {reach:.2f} of an even contribution (alarm with both below "
                f"{ALARMS['own_mass']}, for tasks below {ALARMS['sparse']:.0%}): it leans on the "
                "experts of others; try `architecture: home`, fewer shared experts or more weight "
                "for its loss"
            )


def _ordinal(names: Sequence[str]) -> list[str]:
    return [f"{place} of {name}" for name, place in zip(names, places(names), strict=True)]


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """Numbered where a name stands more than once."""
    pairs = zip(names, numbered(names), strict=True)
    return tuple(long if names.count(name) > 1 else name for name, long in pairs)
