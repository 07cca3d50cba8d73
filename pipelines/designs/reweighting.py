"""A prepared data set whose rows weigh what a design of an A/B test says.

It stands beside the one it is made of, with the same rows in the same files: `row.weight` times the
weight of the trained arm, and the weights of every arm as `ab_weight_<arm>`. Whatever reads
`row.weight` (the loss, the metrics, early stopping) so needs to know nothing of arms.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from fulcrum.features.declared.arms import ARM, UNIT
from fulcrum.features.declared.split import SPLITS
from fulcrum.features.errors import DataError, nearest
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.manifest import SplitFacts
from fulcrum.features.prepared.shards import write_shard
from fulcrum.features.staging import staged
from fulcrum.features.values.schema import dump_type
from fulcrum.pipelines.designs import DesignConfig, Logged, overlap
from fulcrum.pipelines.designs import report as propensity_report
from fulcrum.pipelines.designs.arm_classifiers import PropensityConfig
from fulcrum.pipelines.designs.base import BEFORE
from fulcrum.pipelines.designs.design_matrix import design_matrix
from fulcrum.pipelines.designs.identifying_features import lonely
from fulcrum.pipelines.designs.propensity import Propensity, fit

VERSION = 1
"""Of what is written here; a data set of another version is made anew."""
COLUMN = "ab_weight_"
"""Before an arm's name."""

Told = Callable[[str, int, int], None]


def reweight(
    dataset: PreparedDataset, design: DesignConfig, workspace: Path, told: Told
) -> PreparedDataset:
    """The data set with a design's weights, in `<workspace>/prepared/<its own fingerprint>`.

    Found there, it is opened and nothing is done; otherwise it appears when it is whole. `told`
    hears what is being done, how much of it is done, and of how much. Raises DataError for an arm
    that the log does not have, for arms that overlap nowhere, and for a design that leaves nothing
    to train on.
    """
    name = fingerprint(dataset, design)
    folder = workspace / "prepared" / name
    if not folder.exists():
        with staged(folder) as unfinished:
            _build(dataset, design, name, unfinished, told)
    return PreparedDataset.open(folder)


def fingerprint(dataset: PreparedDataset, design: DesignConfig) -> str:
    """16 hexadecimal digits that change with the data set and with the design."""
    parts = [VERSION, dataset.fingerprint, design.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _build(
    dataset: PreparedDataset, design: DesignConfig, name: str, folder: Path, told: Told
) -> None:
    columns = [ARM, UNIT, "row.weight"]
    shards = {split: dataset.shards(split) for split in SPLITS}
    files = [file for split in SPLITS for file in shards[split]]
    rows = pl.read_parquet(files, columns=columns)
    training = np.arange(len(rows)) < dataset.rows("train")
    names, arm = _arms(rows[ARM], design.arm)
    config = design.asks()
    found = None
    if config is not None:
        found = _judge(dataset, config, arm != BEFORE, rows, told)
    logged = Logged(names, arm, training, None if found is None else found.chance)
    weights = design.weights(logged)
    given = rows["row.weight"].to_numpy().astype(np.float64)
    trained = (given * weights[:, names.index(design.arm)]).astype(np.float32)
    if not trained[training].any():
        raise DataError(
            f"experiment_design: `{design.design}` leaves no row of the training split a weight"
            + (": none lies before the test" if design.design == "snapshot" else "")
        )
    added = pl.DataFrame(
        {"row.weight": trained, **{f"{COLUMN}{n}": weights[:, k] for k, n in enumerate(names)}}
    )
    splits = _write(dataset, added, folder, told)
    shutil.copytree(dataset.folder / "state", folder / "state")
    shutil.copy(dataset.folder / "drift.parquet", folder)
    report = folder / propensity_report.FOLDER
    report.mkdir()
    alone = {} if config is None else lonely(dataset, config.features, rows[UNIT])
    units = rows[UNIT].to_numpy()
    propensity_report.write(report, design, logged, weights, units, found, alone)
    types = {column: dump_type(dtype) for column, dtype in added.schema.items()}
    dataset.manifest.model_copy(
        update={
            "fingerprint": name,
            "columns": {**dataset.manifest.columns, **types},
            "splits": splits,
        }
    ).save(folder)


def _arms(column: pl.Series, trained: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The arms, sorted, and the place of each row's own."""
    names = tuple(sorted(column.drop_nulls().unique().to_list()))
    if trained not in names:
        hint = nearest(trained, names) or f"; expected one of {', '.join(names) or 'none'}"
        raise DataError(f"experiment_design.arm: no row of the log is of arm `{trained}`{hint}")
    if len(names) < 2:
        raise DataError(f"experiment_design: the prepared rows are all of arm `{names[0]}`")
    place = {name: number for number, name in enumerate(names)}
    return names, column.replace_strict(place, default=BEFORE, return_dtype=pl.Int64).to_numpy()


def _judge(
    dataset: PreparedDataset,
    config: PropensityConfig,
    test: np.ndarray,
    rows: pl.DataFrame,
    told: Told,
) -> Propensity:
    told("judging rows by their arm", 0, config.folds)
    arms, units = rows[ARM].to_numpy()[test], rows[UNIT].to_numpy()[test]
    inputs = design_matrix(dataset, config.features)[test]
    heard = partial(told, "judging rows by their arm")
    found = fit(inputs, arms, units, config, told=heard)
    overlap.check(found, dataset, config, test, arms, units)
    return found


def _write(
    dataset: PreparedDataset, added: pl.DataFrame, folder: Path, told: Told
) -> dict[str, SplitFacts]:
    """The shards again, with other columns; rows of `added` are those of all splits in order."""
    splits, start = {}, 0
    for split in (s for s in SPLITS if dataset.rows(s)):
        (folder / split).mkdir()
        written = []
        for shard in dataset.manifest.splits[split].shards:
            block = pl.read_parquet(dataset.folder / shard.name)
            block = block.with_columns(added[start : start + len(block)])
            written.append(write_shard(block, folder, shard.name))
            start += len(block)
            told("weighting", start, len(added))
        splits[split] = dataset.manifest.splits[split].model_copy(update={"shards": (*written,)})
    return splits
