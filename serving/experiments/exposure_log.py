"""The log of an experiment: what was assigned, what was shown, what became of it.

Rows go to a journal before they are answered; a journal that is large enough becomes Parquet files
under its number, and goes. While it is there those files do not count, so a crash between the two
neither loses nor doubles rows.
"""

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from fulcrum.features.errors import DataError, FulcrumError, ResourceError
from fulcrum.features.staging import full_disk
from fulcrum.serving.experiments import journal
from fulcrum.serving.experiments.columns import ASSIGNMENT, TABLES, Schema, schemas
from fulcrum.serving.experiments.experiment import ExperimentConfig
from fulcrum.serving.experiments.journal import Journal
from fulcrum.serving.experiments.log_folder import JOURNALS, experiment_of, numbered, take, write

ROTATE_BYTES = 32 * 1024 * 1024
"""A journal of this size becomes Parquet."""
REMEMBERED = 500_000
"""Requests, and units, of which the service knows without looking that they are logged."""

logger = logging.getLogger(__name__)


class ExposureLog:
    """A folder that one service writes. Safe to call from several threads."""

    def __init__(
        self,
        folder: Path,
        experiment: ExperimentConfig,
        columns: Schema,
        rotate_bytes: int = ROTATE_BYTES,
        remembered: int = REMEMBERED,
    ) -> None:
        """Open or make the folder and turn journals that a crash left into Parquet; `columns` are
        those of a request and its scores.

        Raises ResourceError when another service writes there or the disk refuses, StateError when
        the folder is of another experiment or damaged."""
        self.folder = folder
        self._schemas = schemas(columns, experiment.outcomes)
        self._rotate_bytes, self._remembered = rotate_bytes, remembered
        self._units: dict[str, None] = {}
        self._requests: dict[str, tuple[int, int | None]] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "rotate")
        self._settling = threading.Lock()
        with full_disk(folder):
            self._folder_lock = take(folder, experiment)
            try:
                self._settle(numbered(folder / JOURNALS))
                self._recall()
                self._journal = self._next()
            except BaseException:
                os.close(self._folder_lock)
                raise

    def assign(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Log assignments, with columns as `columns.ASSIGNMENT`, of units that have none yet; gives
        those. Raises ResourceError when the disk is full; nothing is logged then."""
        with self._lock:
            new = self._unassigned(rows)
            self._append({"assignments": new})
            self._remember_units(new)
            return new

    def expose(
        self, request: str, rows: pl.DataFrame, content: int | None = None
    ) -> pl.DataFrame | None:
        """Log the answered rows of a request, and assignments of units that have none yet; gives
        the assignments, or None for a request that is logged already and is not logged again.

        Raises DataError where that one had other `content`, as far as this process has seen it, and
        ResourceError when the disk is full; nothing of the request is logged then."""
        with self._lock:
            entry = self._requests.get(request)
            if entry is not None:
                if None not in (entry[1], content) and entry[1] != content:
                    raise DataError(f"request: {request!r} is the id of an earlier request")
                return None
            new = self._unassigned(rows)
            self._append({"assignments": new, "exposures": rows})
            self._remember_units(new)
            if rows.height:
                self._remember_request(request, rows["row"].to_list(), content)
            return new

    def add_outcomes(self, rows: pl.DataFrame) -> None:
        """Log what became of answered rows.

        Raises DataError naming the first that was not answered or not logged, and ResourceError
        when the disk is full; none is logged then."""
        keys = list(rows.select("request", "row").iter_rows())
        with self._lock:
            masks = {name: self._requests[name][0] for name, _ in keys if name in self._requests}
        if older := {name for name, _ in keys} - masks.keys():
            exposures = _tables(self.folder)["exposures"].filter(pl.col("request").is_in(older))
            for name, row in exposures.select("request", "row").collect().iter_rows():
                masks[name] = masks.get(name, 0) | 1 << row
        for place, (name, row) in enumerate(keys):
            if name not in masks:
                raise DataError(
                    f"outcomes[{place}].request: no request {name[:80]!r} is in the log; it is "
                    "unknown, or none of its rows is part of the experiment (`arm` is null)"
                )
            if row < 0 or not masks[name] >> row & 1:
                raise DataError(
                    f"outcomes[{place}].row: request {name[:80]!r} has no row {row} in the log; "
                    "rows count from 0, and those whose `arm` is null are not logged"
                )
        with self._lock:
            self._append({"outcomes": rows})

    def close(self) -> None:
        """Turn what is left into Parquet and let the folder go."""
        with self._lock:
            self._journal.close()
        self._worker.shutdown()
        try:
            self._settle(numbered(self.folder / JOURNALS))
        except (FulcrumError, OSError, pl.exceptions.PolarsError) as error:
            logger.warning("%s stays in its journal: %s", self.folder, error)
        finally:
            os.close(self._folder_lock)

    def _append(self, rows: dict[str, pl.DataFrame]) -> None:
        self._journal.append(rows)
        if self._journal.size < self._rotate_bytes:
            return
        with suppress(ResourceError):
            # A disk that is full for a new journal may have room at the end of this one.
            full, self._journal = self._journal, self._next()
            full.close()
            self._worker.submit(self._try_to_settle, self._journal.path)

    def _next(self) -> Journal:
        """A journal with the number after the last."""
        folders = (JOURNALS, *TABLES)
        numbers = [number for name in folders for number in numbered(self.folder / name)]
        path = self.folder / JOURNALS / f"{max(numbers, default=0) + 1:06d}.jsonl"
        return Journal(path, self._schemas)

    def _try_to_settle(self, live: Path) -> None:
        """The journals before `live`; those that fail are tried again with the next."""
        journals = numbered(self.folder / JOURNALS).items()
        try:
            self._settle({number: path for number, path in journals if path < live})
        except Exception as error:
            logger.warning("%s stays in its journal: %s", self.folder, error)

    def _settle(self, journals: dict[int, Path]) -> None:
        """Turn journals into Parquet."""
        with self._settling:
            for number, path in journals.items():
                for name, rows in journal.read(path).items():
                    if rows.height:
                        write(rows, self.folder / name / f"{number:06d}.parquet")
                path.unlink()

    def _recall(self) -> None:
        """Remember the newest requests and units of the folder."""
        for path in reversed(numbered(self.folder / "assignments").values()):
            if len(self._units) >= self._remembered:
                break
            self._remember_units(pl.read_parquet(path, columns=["unit"], glob=False))
        for path in reversed(numbered(self.folder / "exposures").values()):
            if len(self._requests) >= self._remembered:
                break
            rows = pl.read_parquet(path, columns=["request", "row"], glob=False)
            by_request = rows.group_by("request", maintain_order=True).agg("row")
            for request, places in by_request.iter_rows():
                self._remember_request(request, places, None)

    def _unassigned(self, rows: pl.DataFrame) -> pl.DataFrame:
        first = rows.select(*ASSIGNMENT).unique("unit", keep="first", maintain_order=True)
        return first.filter([unit not in self._units for unit in first["unit"]])

    def _remember_units(self, rows: pl.DataFrame) -> None:
        self._units.update(dict.fromkeys(rows["unit"]))
        _forget(self._units, self._remembered)

    def _remember_request(self, request: str, rows: list[int], content: int | None) -> None:
        """Its rows as bits of one number."""
        self._requests[request] = (sum(1 << row for row in set(rows)), content)
        _forget(self._requests, self._remembered)


def read_log(folder: Path) -> pl.LazyFrame:
    """Every answered row once, in the order of the log, with the last value of each outcome, null
    where none came: what `columns.EXPOSURE` lists, the request's columns, `score.<task>`, and the
    experiment's outcomes.

    The service may go on writing. Raises StateError when the folder is no log or damaged."""
    outcomes = experiment_of(folder)["outcomes"]
    tables = _tables(folder)
    answered = tables["exposures"].unique(["request", "row"], keep="first", maintain_order=True)
    last = (
        tables["outcomes"]
        .group_by("request", "row")
        .agg(pl.col(name).drop_nulls().last() for name in outcomes)
    )
    return answered.join(last, on=["request", "row"], how="left", maintain_order="left")


def read_assignments(folder: Path) -> pl.LazyFrame:
    """Every unit that was assigned, once, by its first assignment; raises as `read_log` does."""
    experiment_of(folder)
    return _tables(folder)["assignments"].unique("unit", keep="first", maintain_order=True)


def _tables(folder: Path) -> dict[str, pl.LazyFrame]:
    """All rows as they were written. The journals are read first, into memory: one that becomes
    Parquet meanwhile is then read once, and one that has become Parquet is among those files."""
    outcomes = experiment_of(folder)["outcomes"]
    fresh = {}
    for number, path in numbered(folder / JOURNALS).items():
        with suppress(FileNotFoundError):
            fresh[number] = journal.read(path)
    tables = {}
    for name, schema in schemas({}, outcomes).items():
        parts: dict[int, pl.LazyFrame] = {
            number: pl.scan_parquet(path, glob=False)
            for number, path in numbered(folder / name).items()
        }
        parts |= {number: read[name].lazy() for number, read in fresh.items() if name in read}
        parts |= {0: pl.LazyFrame(schema=schema)}
        ordered = [parts[number] for number in sorted(parts)]
        tables[name] = pl.concat(ordered, how="diagonal_relaxed")
    return tables


def _forget(memory: dict[str, Any], keep: int) -> None:
    """Drop what came first."""
    while len(memory) > keep:
        del memory[next(iter(memory))]
