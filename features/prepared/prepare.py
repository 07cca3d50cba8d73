"""From raw files to a prepared data set: shards per split, feature state, manifest, drift."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.session import in_session_order, number_sessions, with_sessions
from fulcrum.features.declared.split import FILE, INDEX, SPLITS, split_column
from fulcrum.features.errors import DataError
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.prepared.advice import FILE as ADVICE
from fulcrum.features.prepared.advice import advice
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.drift import drift
from fulcrum.features.prepared.failure import explain
from fulcrum.features.prepared.inputs import Inputs, open_inputs
from fulcrum.features.prepared.manifest import Manifest, SplitFacts, fingerprint
from fulcrum.features.prepared.shards import MISSING, write_shards
from fulcrum.features.prepared.stage import stage
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.staging import staged
from fulcrum.features.tasks import TaskConfig
from fulcrum.features.transform.fit import fit_ids, fit_numbers
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import Gathered, encode, gather_rows
from fulcrum.features.values.schema import dump_type

__all__ = ["PreparedDataset", "prepare"]

logger = logging.getLogger(__name__)

EVENTS_PER_PART = 1_000_000
"""Past events sorted in memory at a time."""
SPLIT = "row.split"
Facts = dict[str | None, dict[str, Any]]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows of it are done, and of how many."""


class Declared(Protocol):
    """A run's config, or any other thing that says what to prepare."""

    @property
    def data(self) -> DataConfig: ...
    @property
    def features(self) -> Mapping[str, FeatureConfig]: ...
    @property
    def tasks(self) -> Mapping[str, TaskConfig]: ...


def prepare(
    config: Declared, workspace: Path, progress: Progress = lambda what, done, total: None
) -> PreparedDataset:
    """The prepared data set of a config, in `<workspace>/prepared/<fingerprint>`.

    Found there, it is opened and nothing is done. Otherwise it is made beside that place and
    renamed when complete, so a killed run leaves nothing that could be taken for a data set, and
    several may run at once.

    Raises ConfigError, DataError, ResourceError (no space) and StateError (damaged data set).
    """
    spec = FeatureSpec(data=config.data, features=config.features, tasks=config.tasks)
    spec.check()
    inputs = open_inputs(spec)
    name = fingerprint(spec, inputs.stamps)
    folder = workspace / "prepared" / name
    if not folder.exists():
        with staged(folder) as unfinished:
            try:
                _build(spec, inputs, name, unfinished, progress)
            except PolarsError as error:
                raise explain(error, inputs, spec) from error
    return PreparedDataset.open(folder)


def _build(spec: FeatureSpec, inputs: Inputs, name: str, folder: Path, progress: Progress) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    progress("reading", 0, 1)
    log = stage(spec, inputs, scratch)
    deal = spec.data.split.deal(log.rows)
    rows = log.rows.with_columns(deal.split.alias(SPLIT))
    facts = _count(rows, spec)
    _check_splits(facts, spec)
    _check_chains(facts, spec)
    progress("fitting", 0, 1)
    tables = {table: source.frame for table, source in inputs.tables.items()}
    train = rows.filter(pl.col(SPLIT) == "train").select(log.raw)
    draft = fit_ids(train, spec, tables, name, log.end)
    parts = -(-log.rows.select(pl.len()).collect().item() // EVENTS_PER_PART)
    past = gather_rows(log.rows, draft, scratch / "past" if parts > 1 else None, parts)
    state = fit_numbers(train, draft, past, scratch)
    if spec.data.session is not None:
        progress("cutting sessions", 0, 1)
        sessions = number_sessions(
            log.rows, spec.data.session.microseconds, scratch / "keys", parts
        )
        rows = in_session_order(with_sessions(rows, sessions), scratch / "sessions", parts)
    splits = _write(rows, state, past, facts, folder, progress)
    shutil.rmtree(scratch)
    state.save(folder / "state")
    manifest = Manifest(
        fingerprint=name,
        inputs=tuple(inputs.stamps),
        split=spec.data.split.kind,
        boundaries=deal.boundaries,
        rows_read=log.total,
        rows_dropped={**log.drops, "no split": facts[None]["rows"] if None in facts else 0},
        columns=_columns(folder, splits),
        splits=splits,
    )
    progress("measuring drift", 0, 1)
    changes = drift(folder, manifest, state)
    changes.write_parquet(folder / "drift.parquet")
    lines = advice(folder, manifest, state, changes, log.repeated)
    (folder / ADVICE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    manifest.save(folder)


def _write(
    rows: pl.LazyFrame,
    state: FeatureState,
    past: Gathered,
    facts: Facts,
    folder: Path,
    progress: Progress,
) -> dict[str, SplitFacts]:
    keep = [c for c in rows.collect_schema() if c.startswith(("label.", "observed.", "row."))]
    keep = [c for c in keep if c not in (SPLIT, INDEX, FILE) and not c.startswith(split_column(""))]
    missing = [
        encoder.missing(name, state.schema(name)).alias(MISSING + name)
        for name, encoder in state.spec.encoders.items()
    ]
    total = sum(facts[split]["rows"] for split in SPLITS if split in facts)
    position = 0

    def advance(count: int) -> None:
        nonlocal position
        position += count
        progress("writing", position, total)

    splits = {}
    for split in (s for s in SPLITS if s in facts):
        subset = rows.filter(pl.col(SPLIT) == split)
        plan = encode(subset, state, past, keep, missing)
        shards, nulls = write_shards(plan, folder, split, advance)
        counts = facts[split]
        splits[split] = SplitFacts(
            rows=counts["rows"],
            shards=tuple(shards),
            positives={t: counts[f"positives.{t}"] for t in _binary(state.spec)},
            observed={t: counts[f"observed.{t}"] for t in state.spec.tasks},
            missing=nulls,
        )
    return splits


def _count(rows: pl.LazyFrame, spec: FeatureSpec) -> Facts:
    """By split (None for no split): rows, and per task what is observed and positive, and positive
    where the task that it is given is not."""
    counts = rows.group_by(SPLIT).agg(
        pl.len().alias("rows"),
        *(pl.col(f"observed.{task}").sum() for task in spec.tasks),
        *((pl.col(f"label.{task}") > 0).sum().alias(f"positives.{task}") for task in _binary(spec)),
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


def _check_splits(facts: Facts, spec: FeatureSpec) -> None:
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
        for task in _binary(spec):
            positives, observed = (facts[split][f"{w}.{task}"] for w in ("positives", "observed"))
            if positives in (0, observed):
                only = "1" if positives else "0"
                _refuse(
                    split,
                    f"tasks.{task}: every label in the {split} split is {only} ({observed} rows); "
                    "both classes are needed",
                )


def _check_chains(facts: Facts, spec: FeatureSpec) -> None:
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


def _binary(spec: FeatureSpec) -> list[str]:
    return [name for name, task in spec.tasks.items() if task.two_classes]


def _parents(spec: FeatureSpec) -> dict[str, str]:
    """By chained task, the one that must happen first."""
    return {name: task.parent for name, task in spec.tasks.items() if task.parent is not None}


def _columns(folder: Path, splits: Mapping[str, SplitFacts]) -> dict[str, str]:
    shard = folder / splits["train"].shards[0].name
    schema = pl.scan_parquet(shard, glob=False).collect_schema()
    return {name: dump_type(dtype) for name, dtype in schema.items()}
