"""An online service as an HTTP application."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version as package_version

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from fulcrum.features.errors import DataError, FulcrumError
from fulcrum.serving.http.body import RequestError, read_body, reply
from fulcrum.serving.http.metrics import Measure
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.http.service import Service, Work

THREADS = 4
"""Requests worked on at once; calls of the graph itself take turns."""

Answer = Callable[[Request, Work], Awaitable[Response]]

logger = logging.getLogger(__name__)


def app(service: Service) -> FastAPI:
    """The routes of a service, for one model with those of the Open Inference Protocol. Every error
    is a JSON object `{"error": text}`."""
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

    if isinstance(service, ModelService):
        _add_protocol(web, service, answer)
    web.add_exception_handler(FulcrumError, _refuse)
    web.add_exception_handler(HTTPException, _refuse)
    web.add_exception_handler(Exception, _fail)
    return web


def _posted(answer: Answer, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def posted(request: Request) -> Response:
        return await answer(request, work)

    return posted


def _add_protocol(web: FastAPI, service: ModelService, answer: Answer) -> None:
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
