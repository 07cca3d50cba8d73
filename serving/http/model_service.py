"""The online scorer of one model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.http import protocol
from fulcrum.serving.http.body import decode_object
from fulcrum.serving.http.metrics import Metrics
from fulcrum.serving.http.service import ROWS_PER_CALL, Service, with_keys
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
    ) -> None:
        """`store` is the SQLite file of past events; in memory when left out. Raises what `Scorer`
        and `EventStore` do."""
        self.name = name
        self.scorer = Scorer(bundle, device, ROWS_PER_CALL)
        self.metrics = Metrics(self.unknown, self.seconds)
        super().__init__(f"{name} {version}", version, bundle.serving, store)

    @property
    def scorers(self) -> Sequence[Scorer]:
        return [self.scorer]

    def score(self, body: bytes) -> dict[str, Any]:
        with self.stages.stage("parse"):
            request = decode_object(body)
            rows, past = self.parse(request, self.scorer.state.row_columns)
        scores = self._score(rows, past)
        with self.stages.stage("answer"):
            answers = with_keys(scores, request["rows"], self.scorer.state.keys)
            return {"model": self.name, "version": self.version, "scores": answers}

    def infer(self, body: bytes) -> dict[str, Any]:
        """Answer a request of the Open Inference Protocol."""
        with self.stages.stage("parse"):
            request = decode_object(body)
            names = protocol.select_outputs(request, self.scorer.state.layout.score_columns)
            columns = self.scorer.state.row_columns
            rows = protocol.parse_inputs(request, columns)
            self.limit("rows", rows.height)
            rows = self.typed(rows, columns)
        scores = self._score(rows, None)
        with self.stages.stage("answer"):
            answers = {name: scores[name].to_list() for name in names}
            return protocol.reply(request, self.name, self.version, answers)

    def metadata(self) -> dict[str, Any]:
        """What the model reads and answers."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": protocol.describe_inputs(self.scorer.state.row_columns),
            "outputs": protocol.describe_outputs(self.scorer.state.layout.score_columns),
        }

    def _score(self, rows: pl.DataFrame, past: pl.LazyFrame | None) -> pl.DataFrame:
        scores = self.predict(self.scorer, rows, past)
        self.metrics.rows.inc(rows.height)
        return scores
