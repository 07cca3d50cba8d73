"""An online service as an HTTP application."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.metadata import version as package_version

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from fulcrum.features.errors import DataError, FulcrumError, ResourceError
from fulcrum.serving.http.body import RequestError, reply
from fulcrum.serving.http.intake import Bodies, Threads
from fulcrum.serving.http.metrics import Measure
from fulcrum.serving.http.model_service import ModelService
from fulcrum.serving.http.service import Service, Work

THREADS = 32
"""Requests worked on at once, most of which wait there to be scored together. With those of the
other kinds there are fewer than the 40 threads that anyio keeps."""
LARGE, LARGE_THREADS = 256 * 1024, 4
"""Bodies of more bytes take much memory when they are decoded, so there are fewer at once."""
HEADERS = {408: {"connection": "close"}, 503: {"retry-after": "1"}}
"""What goes with an error, by status."""

Answer = Callable[[Request, Work], Awaitable[Response]]

logger = logging.getLogger(__name__)


def app(service: Service) -> FastAPI:
    """The routes of a service, for one model with those of the Open Inference Protocol. Every error
    is a JSON object `{"error": text}`."""
    # A redirect to the path without its slash would go to whatever host the client names.
    web = FastAPI(openapi_url=None, redirect_slashes=False)
    web.add_middleware(Measure, metrics=service.metrics)
    deadline = service.limits.deadline
    bodies, threads, few = Bodies(), Threads(THREADS, deadline), Threads(LARGE_THREADS, deadline)
    # One event is stored at a time: those that wait for it keep no thread from scoring.
    storing = Threads(1)

    async def answer(request: Request, work: Work) -> Response:
        if not service.ready:
            raise RequestError(503, "not ready yet")
        body = await bodies.read(request, service.limits.max_body_bytes)
        place = few if len(body.content) > LARGE else threads
        if work == service.add_events:
            place = storing

        def respond(due: float) -> Response:
            value = work(replace(body, due=due))
            with service.stages.stage("answer"):
                return value if isinstance(value, Response) else reply(value)

        return await place.run(respond)

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
            {
                "name": "fulcrum",
                "version": package_version("fulcrum-recsys"),
                "extensions": ["binary_tensor_data"],
            }
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
        status, text = error.status_code, str(error.detail)
    elif isinstance(error, RequestError):
        status, text = error.status, str(error)
    elif isinstance(error, DataError):
        status, text = 422, str(error)
    elif isinstance(error, ResourceError):
        # What it says is about files of this machine.
        logger.error("%s %s: %s", request.method, request.url.path, error)
        status, text = 503, "nothing can be stored at present; try again later"
    else:
        return await _fail(request, error)
    answer = reply({"error": text}, status)
    answer.headers.update(HEADERS.get(status, {}))
    return answer


async def _fail(request: Request, error: Exception) -> Response:
    logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return reply({"error": "internal error"}, 500)
