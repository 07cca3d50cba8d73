"""The online scorer as an HTTP application: raw rows in, one score per task out."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version as package_version
from typing import Any, Protocol

import polars as pl
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from fulcrum.features.errors import DataError, FulcrumError
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http import protocol
from fulcrum.serving.http.body import RequestError, decode_object, read_body, reply
from fulcrum.serving.http.event_store import EventStore
from fulcrum.serving.http.metrics import Measure, Metrics
from fulcrum.serving.scoring.json_rows import parse_rows
from fulcrum.serving.scoring.scorer import Scorer

ROWS_PER_CALL = 64
"""Rows per call of the graph; a request of one row pays for so many."""
THREADS = 4
"""Requests worked on at once; calls of the graph itself take turns."""

Work = Callable[[bytes], dict[str, Any]]
Answer = Callable[[Request, Work], Awaitable[Response]]

logger = logging.getLogger(__name__)


class Service:
    """A scorer with its event store, under a name."""

    def __init__(self, scorer: Scorer, store: EventStore | None, name: str, version: str) -> None:
        """`store` is needed exactly when the model looks back."""
        self.scorer = scorer
        self.store = store
        self.name = name
        self.version = version
        self.limits = scorer.bundle.serving
        self.metrics = Metrics(lambda: scorer.unknown)
        self.ready = False

    def open(self) -> None:
        """Warm up; answers are given from here on."""
        self.scorer.warm_up()
        self.ready = True
        self.metrics.ready.set(1)

    @property
    def posts(self) -> Mapping[str, Work]:
        """What answers the body of a POST, by route."""
        return {"/score": self.score, "/events": self.add_events}

    def score(self, body: bytes) -> dict[str, Any]:
        """Answer `POST /score`: `{"rows": [...], "events": [...]}`; `events`, when there, stand in
        for the stored ones."""
        request = decode_object(body)
        rows = parse_rows(request.get("rows"), self.scorer.state.row_columns)
        past = None
        if self.store is not None and request.get("events") is not None:
            columns = self.scorer.state.past_columns
            past = parse_rows(request["events"], columns, "events").lazy()
        scores = self._score(rows, past)
        keys = self.scorer.state.keys
        answers = [
            {key: row.get(key) for key in keys} | values
            for row, values in zip(request["rows"], scores.to_dicts(), strict=True)
        ]
        return {"model": self.name, "version": self.version, "scores": answers}

    def infer(self, body: bytes) -> dict[str, Any]:
        """Answer a request of the Open Inference Protocol."""
        request = decode_object(body)
        names = protocol.select_outputs(request, self.scorer.state.layout.score_columns)
        scores = self._score(protocol.parse_inputs(request, self.scorer.state.row_columns))
        answers = {name: scores[name].to_list() for name in names}
        return protocol.reply(request, self.name, self.version, answers)

    def add_events(self, body: bytes) -> dict[str, Any]:
        """Answer `POST /events`: `{"events": [...]}`; those already stored are ignored."""
        if self.store is None:
            raise RequestError(422, "events: this model does not look at past events")
        events = parse_rows(decode_object(body).get("events"), self.store.columns, "events")
        added = self.store.append(events)
        self.metrics.events.inc(added)
        return {"added": added, "ignored": events.height - added}

    def metadata(self) -> dict[str, Any]:
        """What the model reads and answers."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": protocol.describe_inputs(self.scorer.state.row_columns),
            "outputs": protocol.describe_outputs(self.scorer.state.layout.score_columns),
        }

    def _score(self, rows: pl.DataFrame, past: pl.LazyFrame | None = None) -> pl.DataFrame:
        """Scores only, null where a number is not finite."""
        if rows.height > self.limits.max_rows:
            raise RequestError(
                422, f"rows: {rows.height} in one request, at most {self.limits.max_rows} allowed"
            )
        if past is None and self.store is not None:
            past = self.store.past_of(rows)
        scores = self.scorer.predict(rows, past)
        self.metrics.rows.inc(rows.height)
        finite = [
            pl.when(pl.col(name).is_finite()).then(name)
            for name in self.scorer.state.layout.score_columns
        ]
        return scores.select(finite)


class Answering(Protocol):
    """What the routes need of a service."""

    version: str
    ready: bool

    @property
    def metrics(self) -> Metrics:
        """What is counted."""

    @property
    def limits(self) -> ServingConfig:
        """Of requests."""

    @property
    def posts(self) -> Mapping[str, Work]:
        """What answers the body of a POST, by route."""

    def open(self) -> None:
        """Warm up; answers are given from here on."""


def app(service: Service) -> FastAPI:
    """The routes of one model, with those of the Open Inference Protocol."""
    web, answer = routes(service)
    _add_protocol(web, service, answer)
    return web


def routes(service: Answering) -> tuple[FastAPI, Answer]:
    """The routes of every service, and how it answers a request. Every error is a JSON object
    `{"error": text}`."""
    web = FastAPI(title="Fulcrum", version=service.version)
    web.add_middleware(Measure, metrics=service.metrics)
    limiter = CapacityLimiter(THREADS)

    async def answer(request: Request, work: Work) -> Response:
        if not service.ready:
            raise RequestError(503, "not ready yet")
        body = await read_body(request, service.limits.max_body_bytes)
        return reply(await to_thread.run_sync(partial(work, body), limiter=limiter))

    for route, work in service.posts.items():
        web.add_api_route(route, _posted(answer, work), methods=["POST"])

    @web.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @web.get("/v2/health/live")
    async def live() -> Response:
        return reply({"live": True})

    @web.get("/v2/health/ready")
    async def ready() -> Response:
        return reply({"ready": service.ready}, 200 if service.ready else 503)

    web.add_exception_handler(FulcrumError, _refuse)
    web.add_exception_handler(HTTPException, _refuse)
    web.add_exception_handler(Exception, _fail)
    return web, answer


def _posted(answer: Answer, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def posted(request: Request) -> Response:
        return await answer(request, work)

    return posted


def _add_protocol(web: FastAPI, service: Service, answer: Answer) -> None:
    """Routes of the Open Inference Protocol."""

    def check(model: str, version: str | None) -> None:
        if model != service.name:
            raise RequestError(404, f"no model {model[:80]!r}; this service has {service.name!r}")
        if version not in (None, service.version):
            raise RequestError(404, f"no version {version[:80]!r}, only {service.version!r}")

    @web.get("/v2")
    async def server() -> Response:
        return reply(
            {"name": "fulcrum", "version": package_version("fulcrum-recsys"), "extensions": []}
        )

    @web.get("/v2/models/{model}/ready")
    @web.get("/v2/models/{model}/versions/{version}/ready")
    async def model_ready(model: str, version: str | None = None) -> Response:
        check(model, version)
        return reply({"name": model, "ready": service.ready}, 200 if service.ready else 503)

    @web.get("/v2/models/{model}")
    @web.get("/v2/models/{model}/versions/{version}")
    async def metadata(model: str, version: str | None = None) -> Response:
        check(model, version)
        return reply(service.metadata())

    @web.post("/v2/models/{model}/infer")
    @web.post("/v2/models/{model}/versions/{version}/infer")
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        check(model, version)
        return await answer(request, service.infer)


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return reply({"error": str(error.detail)}, error.status_code)
    status = error.status if isinstance(error, RequestError) else 503
    return reply({"error": str(error)}, 422 if isinstance(error, DataError) else status)


async def _fail(request: Request, error: Exception) -> Response:
    logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return reply({"error": "internal error"}, 500)
