"""How the features of later splits differ from those of the training split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.layout import NULL, UNKNOWN, DenseInput, IdInput, Input
from fulcrum.features.prepared.manifest import Manifest
from fulcrum.features.transform.state import FeatureState

BINS = 10
"""Bins of a number: the deciles of the training split."""
TOP = 20
"""Most frequent training ids with a bin each; the rest share one."""
SAMPLE = 100_000
"""Training rows that the deciles are taken from."""

Histograms = dict[str, np.ndarray]


def drift(folder: Path, manifest: Manifest, state: FeatureState) -> pl.DataFrame:
    """One row per feature: `feature`, `kind`, `vocabulary` (values known; null for numbers), and by
    split `null.<split>` (share of rows without a value), `unknown.<split>` (share of ids) and,
    against train, `psi.<split>` (the largest of the feature's inputs)."""
    files = {
        name: [folder / shard.name for shard in split.shards]
        for name, split in manifest.splits.items()
    }
    edges = _edges(files["train"], state)
    counts = {name: _count(paths, state, edges) for name, paths in files.items()}
    rows = []
    encoders = state.spec.encoders
    for name, feature in state.spec.features.items():
        inputs = encoders[name].inputs(name, state.learned[name], encoders)
        table = encoders[name].table(name)
        row: dict[str, str | int | float | None] = {
            "feature": name,
            "kind": feature.kind,
            "vocabulary": None if table is None else state.lookups[table].rows - UNKNOWN - 1,
        }
        for split, facts in manifest.splits.items():
            row[f"null.{split}"] = facts.missing.get(name, 0) / max(facts.rows, 1)
            row[f"unknown.{split}"] = _unknown(inputs, counts[split])
            if split != "train":
                row[f"psi.{split}"] = max(
                    psi(counts["train"][i.name], counts[split][i.name], _bins(i)) for i in inputs
                )
        rows.append(row)
    return pl.DataFrame(rows, schema_overrides={"vocabulary": pl.Int64}, infer_schema_length=None)


def psi(expected: np.ndarray, actual: np.ndarray, bins: int | None = None) -> float:
    """Population stability index, sum of (a - e) · ln(a / e) over the shares of each bin.

    With `bins`, only the most frequent expected ones keep a bin and the others share one. Shares
    are kept above 0 by half a count in each bin. 0 where a side has no counts.
    """
    if bins is not None and len(expected) > bins + 1:
        order = np.argsort(-expected, kind="stable")
        expected, actual = (
            np.append(side[order[:bins]], side[order[bins:]].sum()) for side in (expected, actual)
        )
    if not expected.sum() or not actual.sum():
        return 0.0
    e, a = ((side + 0.5) / (side + 0.5).sum() for side in (expected, actual))
    return float(np.sum((a - e) * np.log(a / e)))


def _bins(source: Input) -> int | None:
    return None if isinstance(source, DenseInput) else TOP


def _unknown(inputs: Sequence[Input], counts: Mapping[str, np.ndarray]) -> float | None:
    """Share of unknown among the ids that are not null, of the first input; None for numbers."""
    source = inputs[0]
    if isinstance(source, DenseInput):
        return None
    ids = counts[source.name][: -1 if not isinstance(source, IdInput) else None]
    return float(ids[UNKNOWN] / max(ids[NULL + 1 :].sum(), 1))


def _edges(files: Sequence[Path], state: FeatureState) -> dict[str, np.ndarray]:
    names = [source.name for source in state.layout.dense]
    if not names:
        return {}
    rows = pl.scan_parquet(list(files), glob=False).select(names)
    step = max(1, rows.select(pl.len()).collect().item() // SAMPLE)
    sample = rows.gather_every(step).collect()
    ranks = np.arange(1, BINS) / BINS
    return {name: np.unique(np.quantile(sample[name].to_numpy(), ranks)) for name in names}


def _count(files: Sequence[Path], state: FeatureState, edges: Histograms) -> Histograms:
    """Per input: rows by bin for numbers, else uses by id; for lists, empty ones at the end."""
    sizes = {table.name: table.rows for table in state.layout.tables}
    totals: Histograms = {}
    for file in files:
        for source in state.layout.inputs:
            column = pl.read_parquet(file, columns=[source.name], glob=False).to_series()
            if isinstance(source, DenseInput):
                place = np.searchsorted(edges[source.name], column.to_numpy(), side="right")
                counts = np.bincount(place, minlength=len(edges[source.name]) + 1)
            elif isinstance(source, IdInput):
                counts = np.bincount(column.to_numpy(), minlength=sizes[source.table])
            else:
                ids = column.explode(empty_as_null=False).to_numpy()
                counts = np.bincount(ids, minlength=sizes[source.table])
                counts = np.append(counts, np.sum(column.list.len().to_numpy() == 0))
            totals[source.name] = totals.get(source.name, 0) + counts
    return totals
