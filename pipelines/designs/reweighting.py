"""A prepared data set whose rows weigh what a design of an A/B test says.

It stands beside the one it is made of, with the same rows in the same files: `row.weight` times the
weight of the trained arm, and the weights of every arm as `ab_weight_<arm>`. Whatever reads
`row.weight` (the loss, the metrics, early stopping) so needs to know nothing of arms.
"""

import hashlib
import json
import shutil
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, hstack

from fulcrum.features.declared.arms import ARM, UNIT, WINDOW
from fulcrum.features.declared.split import SPLITS
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.prepared.advice import FILE as ADVICE
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.manifest import SplitFacts
from fulcrum.features.prepared.prepare import Progress
from fulcrum.features.prepared.shards import write_shard
from fulcrum.features.staging import staged
from fulcrum.features.values.schema import dump_type
from fulcrum.pipelines.designs import DesignConfig, LoggedRows, overlap
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.base import BEFORE
from fulcrum.pipelines.designs.design_matrix import design_matrix
from fulcrum.pipelines.designs.identifying_features import lonely
from fulcrum.pipelines.designs.propensity import Propensity, fit
from fulcrum.pipelines.designs.report import Report, write_report

VERSION = 1
"""Of what is written here; a data set of another version is made anew."""
COLUMN = "ab_weight_"
"""Before an arm's name."""


class WeightedDataset(PreparedDataset):
    """A folder that `reweight` wrote."""

    @cached_property
    def report(self) -> Report:
        """What is known of the weights."""
        return Report.open(self.folder)


def reweight(
    dataset: PreparedDataset, design: DesignConfig, workspace: Path, progress: Progress
) -> WeightedDataset:
    """The data set with a design's weights, in `<workspace>/prepared/<its own fingerprint>`.

    Found there, it is opened and nothing is done; otherwise it appears when it is whole. Raises
    DataError for an arm that the log does not have, for arms that overlap nowhere, and for a design
    that leaves nothing to train on.
    """
    name = fingerprint(dataset, design)
    folder = workspace / "prepared" / name
    if not folder.exists():
        with staged(folder) as staging:
            _build(dataset, design, name, staging, progress)
    return WeightedDataset.open(folder)


def fingerprint(dataset: PreparedDataset, design: DesignConfig) -> str:
    """16 hexadecimal digits that change with the data set and with the design."""
    parts = [VERSION, dataset.fingerprint, design.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _build(
    dataset: PreparedDataset, design: DesignConfig, name: str, folder: Path, progress: Progress
) -> None:
    windowed = WINDOW in dataset.manifest.columns
    columns = [ARM, UNIT, "row.weight", *([WINDOW] if windowed else [])]
    shards = {split: dataset.shards(split) for split in SPLITS}
    files = [file for split in SPLITS for file in shards[split]]
    rows = pl.read_parquet(files, columns=columns, glob=False)
    training = np.arange(len(rows)) < dataset.rows("train")
    names, arm = _arms(rows[ARM], design.arm)
    config = design.asks()
    propensity = None
    if config is not None:
        propensity = _judge(dataset, config, arm != BEFORE, rows, progress)
    logged_rows = LoggedRows(
        names,
        arm,
        training,
        None if propensity is None else propensity.chance,
        window=rows[WINDOW].to_numpy() if windowed else None,
    )
    weights = design.weights(logged_rows)
    base = rows["row.weight"].to_numpy().astype(np.float64)
    weight = (base * weights[:, names.index(design.arm)]).astype(np.float32)
    if not weight[training].any():
        raise DataError(
            f"experiment_design: `{design.design}` leaves no row of the training split a weight"
            + (": none lies before the test" if design.design == "snapshot" else "")
        )
    weight_columns = pl.DataFrame(
        {"row.weight": weight, **{f"{COLUMN}{n}": weights[:, k] for k, n in enumerate(names)}}
    )
    splits = _write(dataset, weight_columns, folder, progress)
    shutil.copytree(dataset.folder / "state", folder / "state")
    for facts in ("drift.parquet", ADVICE):
        if (dataset.folder / facts).exists():
            shutil.copy(dataset.folder / facts, folder)
    shares = {} if config is None else lonely(dataset, config.features, rows[UNIT])
    units = rows[UNIT].to_numpy()
    write_report(folder, design, logged_rows, weights, units, propensity, shares)
    types = {column: dump_type(dtype) for column, dtype in weight_columns.schema.items()}
    dataset.manifest.model_copy(
        update={
            "fingerprint": name,
            "columns": {**dataset.manifest.columns, **types},
            "splits": splits,
        }
    ).save(folder)


def _arms(column: pl.Series, arm: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The arms, sorted, and the place of each row's own. Raises DataError where `arm` is none of
    them, or the only one."""
    names = tuple(sorted(column.drop_nulls().unique().to_list()))
    if arm not in names:
        hint = nearest(arm, names) or f"; expected one of {', '.join(names) or 'none'}"
        raise DataError(f"experiment_design.arm: no row of the log is of arm `{arm}`{hint}")
    if len(names) < 2:
        raise DataError(f"experiment_design: the prepared rows are all of arm `{names[0]}`")
    place = {name: number for number, name in enumerate(names)}
    return names, column.replace_strict(place, default=BEFORE, return_dtype=pl.Int64).to_numpy()


def _judge(
    dataset: PreparedDataset,
    config: PropensityConfig,
    test: np.ndarray,
    rows: pl.DataFrame,
    progress: Progress,
) -> Propensity:
    of_folds = partial(progress, "judging rows by their arm")
    of_folds(0, config.folds)
    arms, units = rows[ARM].to_numpy()[test], rows[UNIT].to_numpy()[test]
    inputs = design_matrix(dataset, config.features)[test]
    if WINDOW in rows.columns:
        windows = rows[WINDOW].to_numpy()[test]
        told = csr_matrix(windows[:, None] == np.unique(windows), dtype=np.float32)
        inputs = csr_matrix(hstack([inputs, told], format="csr"))
    propensity = fit(inputs, arms, units, config, progress=of_folds)
    overlap.check(propensity, dataset, config, test, arms, units)
    return propensity


def _write(
    dataset: PreparedDataset, columns: pl.DataFrame, folder: Path, progress: Progress
) -> dict[str, SplitFacts]:
    """The shards again, with other columns; their rows are those of all splits in order."""
    splits, start = {}, 0
    for split in (s for s in SPLITS if dataset.rows(s)):
        (folder / split).mkdir()
        shards = []
        for shard in dataset.manifest.splits[split].shards:
            block = pl.read_parquet(dataset.folder / shard.name, glob=False)
            block = block.with_columns(columns[start : start + len(block)])
            shards.append(write_shard(block, folder, shard.name))
            start += len(block)
            progress("weighting", start, len(columns))
        splits[split] = dataset.manifest.splits[split].model_copy(update={"shards": (*shards,)})
    return splits
