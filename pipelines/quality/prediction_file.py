"""Scored rows in a file: written as they are made, read a column at a time."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fulcrum.features.declared.session import SESSION
from fulcrum.features.layout import Layout
from fulcrum.features.staging import full_disk
from fulcrum.pipelines.quality.predictions import GROUP, WEIGHT, Predictions, row_loss

BUFFER = 64 * 2**20
"""Bytes of scored rows held before they are written."""

Gather = Callable[[np.ndarray], np.ndarray]
"""From `(rows,)` of this process to `(rows,)` of all, in the order of ranks, on each of them."""


class PredictionFile(Predictions):
    """Rows that this process has scored, in a Parquet file of its own.

    The file has no name: it is gone with the object that holds it, and with the process, however
    that ends. Where several processes score, each keeps its own rows, and all of them ask for the
    same columns in the same order.
    """

    def __init__(self, layout: Layout, folder: Path, gather: Gather | None = None) -> None:
        """The file takes its space where `folder` lies. Raises ResourceError where that is none."""
        self.layout, self._folder, self._gather = layout, folder, gather
        self._waiting: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        self._writer: pq.ParquetWriter | None = None
        with full_disk(folder):
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as this)

    def add(
        self,
        scores: np.ndarray,
        labels: np.ndarray,
        observed: np.ndarray,
        weight: np.ndarray,
        group: np.ndarray,
        session: np.ndarray,
        losses: np.ndarray | None = None,
    ) -> None:
        """Put rows behind those that are there: `(rows, score columns)` of scores, `(rows, tasks)`
        of labels, of what is observed and of losses, those of the scores where none are given, and
        `(rows,)` of the others. Raises ResourceError when the disk is full."""
        columns = {WEIGHT: weight, GROUP: group, SESSION: session}
        place = 0
        for index, task in enumerate(self.layout.tasks):
            own = scores[:, place : place + len(task.score_columns)]
            place += len(task.score_columns)
            of_task = labels[:, index], observed[:, index]
            loss = row_loss(task, own, *of_task) if losses is None else losses[:, index]
            columns |= {f"score.{n}": own[:, i] for i, n in enumerate(task.score_columns)}
            columns[f"loss.{task.name}"] = loss
            columns[f"label.{task.name}"], columns[f"observed.{task.name}"] = of_task
        self._waiting.append(columns)
        self._bytes += sum(column.nbytes for column in columns.values())
        if self._bytes >= BUFFER:
            self._write()

    def end(self) -> "PredictionFile":
        """Itself, with all rows to be read. Raises ResourceError when the disk is full."""
        if self._waiting:
            self._write()
        with full_disk(self._folder):
            if self._writer is not None:
                self._writer.close()
            self._file.flush()
        self._writer = None
        return self

    def column(self, name: str) -> np.ndarray:
        own = pq.ParquetFile(self._file).read(columns=[name])[name].to_numpy()
        return own if self._gather is None else self._gather(own)

    def _write(self) -> None:
        """One row group."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        table = pa.table({n: np.concatenate([part[n] for part in waiting]) for n in waiting[0]})
        with full_disk(self._folder):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._file, table.schema, use_dictionary=False)
            self._writer.write_table(table)
