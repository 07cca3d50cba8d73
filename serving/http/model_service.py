"""The online scorer of one model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from fastapi import Response

from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.http import protocol
from fulcrum.serving.http.arrow import write_stream
from fulcrum.serving.http.body import ARROW, Body
from fulcrum.serving.http.metrics import Metrics
from fulcrum.serving.http.service import ROWS_PER_CALL, Service, key_columns, with_keys
from fulcrum.serving.scoring.onnx_session import Device
from fulcrum.serving.scoring.scorer import Scorer


class ModelService(Service):
    """A model under a name; also answers the Open Inference Protocol."""

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        version: str,
        device: Device = "auto",
        store: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """`store` is the SQLite file of past events; in memory when left out. `threads` as for
        `Scorer`. Raises what `Scorer` and `EventStore` do."""
        self.name = name
        self.scorer = Scorer(bundle, device, ROWS_PER_CALL, threads)
        self.metrics = Metrics(self.unknown, self.seconds)
        super().__init__(f"{name} {version}", version, bundle.serving, store)

    @property
    def scorers(self) -> Sequence[Scorer]:
        return [self.scorer]

    def score(self, body: Body) -> Any:
        columns, keys = self.scorer.state.row_columns, self.scorer.state.keys
        facts = {"model": self.name, "version": self.version}
        sent: pl.DataFrame | list[dict[str, Any]]
        past = None
        with self.stages.stage("parse"):
            if body.kind == ARROW:
                sent = self.read_stream(body, columns, "rows", keys)
                rows = self.typed(sent, columns).select(list(columns))
            else:
                request = body.decode()
                rows, past = self.parse(request, columns)
                sent = request["rows"]
        scores = self._score(rows, past, body.due)
        with self.stages.stage("answer"):
            if body.answer == ARROW:
                answers = key_columns(sent, rows, keys).hstack(scores)
                return Response(write_stream(answers, facts), media_type=ARROW)
            return facts | {"scores": with_keys(scores, sent, keys)}

    def infer(self, body: Body) -> Any:
        """Answer a request of the Open Inference Protocol."""
        with self.stages.stage("parse"):
            request = protocol.decode(body)
            names = protocol.select_outputs(request, self.scorer.state.layout.score_columns)
            columns = self.scorer.state.row_columns
            rows = protocol.parse_inputs(request, columns)
            self.limit("rows", rows.height)
            rows = self.typed(rows, columns)
        scores = self._score(rows, None, body.due)
        with self.stages.stage("answer"):
            return protocol.reply(request, self.name, self.version, scores.select(names))

    def metadata(self) -> dict[str, Any]:
        """What the model reads and answers."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": protocol.describe_inputs(self.scorer.state.row_columns),
            "outputs": protocol.describe_outputs(self.scorer.state.layout.score_columns),
        }

    def _score(self, rows: pl.DataFrame, past: pl.LazyFrame | None, due: float) -> pl.DataFrame:
        scores = self.predict(self.scorer, rows, past, due)
        self.metrics.rows.inc(rows.height)
        return scores
