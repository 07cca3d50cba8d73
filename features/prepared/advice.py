"""What to look at before training: a line for each thing that is rarely meant."""

from collections.abc import Iterator, Mapping

import polars as pl

from fulcrum.features.kinds.multi import MultiConfig
from fulcrum.features.prepared.alone import areas, inputs, is_single
from fulcrum.features.prepared.manifest import Manifest
from fulcrum.features.prepared.stage import JOINED, LONE
from fulcrum.features.prepared.tally import Tally
from fulcrum.features.transform.state import FeatureState

FILE = "advice.txt"
"""In the folder of a data set: the lines."""
UNKNOWN = 0.5
"""Share of unknown ids in the last split from which on a feature says little."""
FEW = 0.1
"""Share of behaviours without an impression that logs may have."""
TELLING = 0.99
"""AUC of a feature alone from which on it is taken for an outcome."""

Tallies = Mapping[str, Tally]
"""By split."""


def advice(
    manifest: Manifest, state: FeatureState, drift: pl.DataFrame, tallies: Tallies, repeated: int
) -> list[str]:
    """One line each. `repeated` rows say exactly what another one says."""
    return [
        *_rows(manifest, state, tallies, repeated),
        *_unknown_ids(drift),
        *_values(tallies["train"], state),
        *_outcomes(tallies, state),
    ]


def _rows(
    manifest: Manifest, state: FeatureState, tallies: Tallies, repeated: int
) -> Iterator[str]:
    total = sum(split.rows for split in manifest.splits.values())
    if repeated:
        yield (
            f"data: {repeated:,} rows say exactly what another one says; expected one for each "
            "event (`data.deduplicate: true` keeps one)"
        )
    joined, lone = (manifest.rows_dropped.get(what, 0) for what in (JOINED, LONE))
    if lone > FEW * (joined + lone):
        yield (
            f"data.pivot: {lone:,} of {joined + lone:,} behaviours follow no impression; expected "
            "`by` to tie them, and `within` to be longer than they take"
        )
    group = state.spec.data.group
    if group is not None:
        nobody = sum(tally.nobody for tally in tallies.values())
        if nobody:
            yield (
                f"data.group: {nobody:,} of {total:,} rows name nobody in `{group}` (null, NaN or "
                "empty); they are in no group of grouped AUC"
            )


def _unknown_ids(drift: pl.DataFrame) -> Iterator[str]:
    last = drift.columns[-1].rpartition(".")[2]
    if last == "train":
        return
    for name, share in drift.select("feature", f"unknown.{last}").iter_rows():
        if share is not None and share >= UNKNOWN:
            yield (
                f"features.{name}: {share:.0%} of the {last} ids are unknown; drop it, hash it "
                "(`hash_buckets`), or use attributes of what it names"
            )


def _values(train: Tally, state: FeatureState) -> Iterator[str]:
    """Numbers and ids that are all the same, and separators that never occur."""
    for name, encoder in state.spec.encoders.items():
        sources = inputs(name, state)
        if all(is_single(source) and train.is_constant(source.name) for source in sources):
            yield f"features.{name}: it is the same in every training row; drop it"
        if not isinstance(encoder, MultiConfig) or encoder.separator is None:
            continue
        if encoder.max_length > 1 and train.longest[name] == 1:
            yield (
                f"features.{name}: no value holds the separator {encoder.separator!r}, so each "
                "is one id; expected another separator, or `kind: categorical`"
            )


def _outcomes(tallies: Tallies, state: FeatureState) -> Iterator[str]:
    """Features that alone tell a label of the last split."""
    last = list(tallies)[-1]
    if last == "train" or not state.spec.tasks:
        return
    of_features = areas(state, *(tallies[split].examples.frame for split in ("train", last)))
    for feature, alone in of_features.items():
        task = max(alone, key=alone.__getitem__)
        if alone[task] >= TELLING:
            yield (
                f"features.{feature}: alone it tells `{task}` (AUC {alone[task]:.4f} in the {last} "
                "split); if it is known only after the event, list its column in `data.outcomes`"
            )
