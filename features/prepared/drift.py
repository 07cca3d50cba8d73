"""How the features of later splits differ from those of the training split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.layout import NULL, UNKNOWN, DenseInput, IdInput, Input
from fulcrum.features.prepared.manifest import Manifest
from fulcrum.features.prepared.tally import Tally
from fulcrum.features.transform.state import FeatureState

BINS = 10
"""Bins of a number: the deciles of the training split."""
TOP = 20
"""Most frequent training ids with a bin each; the rest share one."""

Histograms = dict[str, np.ndarray]


def drift(
    folder: Path, manifest: Manifest, state: FeatureState, tallies: Mapping[str, Tally]
) -> pl.DataFrame:
    """One row per feature: `feature`, `kind`, `vocabulary` (values known; null for numbers), and by
    split `null.<split>` (share of rows without a value), `unknown.<split>` (share of ids) and,
    against train, `psi.<split>` (the largest of the feature's inputs)."""
    edges = _edges(tallies["train"].numbers.frame)
    counts = {
        name: tallies[name].uses | _bins([folder / shard.name for shard in split.shards], edges)
        for name, split in manifest.splits.items()
    }
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
                    psi(counts["train"][i.name], counts[split][i.name], _most(i)) for i in inputs
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


def _most(source: Input) -> int | None:
    return None if isinstance(source, DenseInput) else TOP


def _unknown(inputs: Sequence[Input], counts: Mapping[str, np.ndarray]) -> float | None:
    """Share of unknown among the ids that are not null, of the first input; None for numbers."""
    source = inputs[0]
    if isinstance(source, DenseInput):
        return None
    ids = counts[source.name][: -1 if not isinstance(source, IdInput) else None]
    return float(ids[UNKNOWN] / max(ids[NULL + 1 :].sum(), 1))


def _edges(numbers: pl.DataFrame) -> Histograms:
    """Deciles of each number, each once."""
    ranks = np.arange(1, BINS) / BINS
    return {n.name: np.unique(np.quantile(n.to_numpy(), ranks)) for n in numbers}


def _bins(files: Sequence[Path], edges: Histograms) -> Histograms:
    """Per number, rows between its edges. These are known only once training rows are written, so
    columns of numbers, which are few, are read once more."""
    totals: Histograms = {}
    for file in files if edges else ():
        for column in pl.read_parquet(file, columns=list(edges), glob=False):
            values, bounds = column.to_numpy().astype(np.float64), edges[column.name]
            above = [len(values), *(int(np.sum(values >= bound)) for bound in bounds), 0]
            totals[column.name] = totals.get(column.name, 0) - np.diff(np.array(above))
    return totals
