"""Request bodies: read with a limit, decoded strictly; replies that any client can decode."""

import json
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from fulcrum.features.errors import FulcrumError

BINARY = "inference-header-content-length"
"""Header of a body in the binary extension of the Open Inference Protocol: JSON, then bytes."""


class RequestError(FulcrumError):
    """The request cannot be answered; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request, limit: int) -> bytes:
    """At most `limit` bytes of JSON text. Raises RequestError 413 or 415."""
    if BINARY in request.headers:
        raise RequestError(
            415, f"{BINARY}: this service reads no binary tensors; send their data as JSON"
        )
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise RequestError(
            415, f"content-encoding: expected none, got {coding[:80]!r}; send the body uncompressed"
        )
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, f"content-type: expected application/json, got {kind[:80]!r}")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise RequestError(413, f"the body is larger than {limit} bytes")
    except ClientDisconnect:
        raise RequestError(400, "the client left before the body was complete") from None
    return bytes(body)


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without repeated fields. Raises RequestError 422."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise RequestError(422, "the body is not valid UTF-8") from None
    except RecursionError:
        raise RequestError(422, "the body is nested too deeply") from None
    except ValueError as error:
        raise RequestError(422, f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(422, "the body must be a JSON object")
    return value


def reply(value: Any, status: int = 200) -> Response:
    """A JSON response in ASCII, so that echoed text of any kind can be sent."""
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise RequestError(422, f"{name[:80]!r}: the field is there twice")
        fields[name] = value
    return fields
