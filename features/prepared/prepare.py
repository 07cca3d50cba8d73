"""From raw files to a prepared data set: shards per split, feature state, manifest, drift."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import polars as pl
from polars.exceptions import PolarsError

from fulcrum.features.declared.data import DataConfig
from fulcrum.features.declared.session import in_session_order, number_sessions, with_sessions
from fulcrum.features.declared.split import FILE, INDEX, SPLITS, split_column
from fulcrum.features.kinds import FeatureConfig
from fulcrum.features.prepared.advice import FILE as ADVICE
from fulcrum.features.prepared.advice import advice
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.prepared.drift import drift
from fulcrum.features.prepared.failure import explain
from fulcrum.features.prepared.inputs import Inputs, open_inputs
from fulcrum.features.prepared.manifest import Manifest, SplitFacts, fingerprint
from fulcrum.features.prepared.shards import write_shards
from fulcrum.features.prepared.splits import SPLIT, Facts, binary, check_chains, check_splits, count
from fulcrum.features.prepared.stage import stage
from fulcrum.features.prepared.tally import MISSING, Tally
from fulcrum.features.spec import FeatureSpec
from fulcrum.features.staging import staged
from fulcrum.features.tasks import TaskConfig
from fulcrum.features.transform.fit import fit_ids, fit_numbers
from fulcrum.features.transform.past import look_back_at_each_other
from fulcrum.features.transform.state import FeatureState
from fulcrum.features.transform.transform import Transform
from fulcrum.features.values.schema import dump_type

__all__ = ["PreparedDataset", "prepare"]

logger = logging.getLogger(__name__)

EVENTS_PER_PART = 2_000_000
"""Rows and past events of a bucket, whose events are sorted in memory."""
Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows or buckets of it are done, and of how many."""


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
    facts = count(rows, spec)
    check_splits(facts, spec)
    check_chains(facts, spec)
    progress("fitting", 0, 1)
    tables = {table: source.frame for table, source in inputs.tables.items()}
    train = rows.filter(pl.col(SPLIT) == "train").select(log.raw)
    draft = fit_ids(train, spec, tables, name, log.end)
    parts = -(-sum(counts["rows"] for counts in facts.values()) // EVENTS_PER_PART)
    seen = pl.LazyFrame()
    if spec.looking_back:
        told = partial(progress, "looking back")
        seen = look_back_at_each_other(log.rows, draft, scratch / "past", parts, told)
        rows = pl.concat([rows, seen], how="horizontal", strict=True)
    seen_by_train = rows.filter(pl.col(SPLIT) == "train").select(seen.collect_schema().names())
    state = fit_numbers(train, draft, seen_by_train, scratch)
    if spec.data.session is not None:
        progress("cutting sessions", 0, 1)
        sessions = number_sessions(
            log.rows, spec.data.session.microseconds, scratch / "keys", parts
        )
        # What rows have seen makes them wide, so fewer at a time are in memory.
        fewer = 4 * parts if spec.looking_back else parts
        rows = in_session_order(with_sessions(rows, sessions), scratch / "sessions", fewer)
    with ThreadPoolExecutor(max_workers=1) as beside:
        saved = beside.submit(state.save, folder / "state")
        splits, tallies = _write(rows, state, list(seen.collect_schema()), facts, folder, progress)
        saved.result()
    shutil.rmtree(scratch)
    manifest = Manifest(
        fingerprint=name,
        inputs=tuple(inputs.stamps),
        split=spec.data.split.kind,
        boundaries=deal.boundaries,
        rows_read=log.total,
        rows_dropped={**log.drops, "no split": facts[None]["rows"] if None in facts else 0},
        columns=_columns(folder, splits),
        splits=splits,
        end=log.end,
    )
    progress("measuring drift", 0, 1)
    changes = drift(folder, manifest, state, tallies)
    changes.write_parquet(folder / "drift.parquet")
    lines = advice(manifest, state, changes, tallies, log.repeated)
    (folder / ADVICE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    manifest.save(folder)


def _write(
    rows: pl.LazyFrame,
    state: FeatureState,
    seen: Sequence[str],
    facts: Facts,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, SplitFacts], dict[str, Tally]]:
    keep = [c for c in rows.collect_schema() if c.startswith(("label.", "observed.", "row."))]
    keep = [c for c in keep if c not in (SPLIT, INDEX, FILE) and not c.startswith(split_column(""))]
    names = list(dict.fromkeys([*state.row_columns, *keep, *seen]))
    missing = {
        MISSING + name: encoder.missing(name, state.schema(name))
        for name, encoder in state.spec.encoders.items()
    }
    encode = Transform(state, missing)

    def encoded(block: pl.DataFrame) -> pl.DataFrame:
        columns = encode(block, seen={name: block[name] for name in seen})
        return pl.DataFrame(dict(columns)).hstack(block.select(keep))

    there = [split for split in SPLITS if split in facts]
    total = sum(facts[split]["rows"] for split in there)
    position = 0

    def advance(count: int) -> None:
        nonlocal position
        position += count
        progress("writing", position, total)

    tallies = {split: Tally(state.layout, facts[split]["rows"]) for split in there}
    subsets = {split: rows.filter(pl.col(SPLIT) == split).select(names) for split in there}
    shards = write_shards(subsets, encoded, folder, tallies, advance)
    splits = {
        split: SplitFacts(
            rows=facts[split]["rows"],
            shards=shards[split],
            positives={t: facts[split][f"positives.{t}"] for t in binary(state.spec)},
            observed={t: facts[split][f"observed.{t}"] for t in state.spec.tasks},
            missing=dict(tally.missing),
        )
        for split, tally in tallies.items()
    }
    return splits, tallies


def _columns(folder: Path, splits: Mapping[str, SplitFacts]) -> dict[str, str]:
    shard = folder / splits["train"].shards[0].name
    schema = pl.scan_parquet(shard, glob=False).collect_schema()
    return {name: dump_type(dtype) for name, dtype in schema.items()}
