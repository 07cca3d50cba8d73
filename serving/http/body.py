"""Request bodies: read with a limit, decoded strictly; replies that any client can decode."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from fulcrum.features.errors import FulcrumError

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
TENSORS = "application/octet-stream"
JSON_BYTES = "inference-header-content-length"
"""Header of a body in the binary extension of the Open Inference Protocol: JSON, then tensors."""


DEPTH = 8
"""To which a body may be nested for its names and texts to be counted."""


class RequestError(FulcrumError):
    """The request cannot be answered; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Body:
    """What a client sends, and the media type in which it wants the answer where there are two."""

    content: bytes
    kind: str = JSON
    answer: str = JSON
    json_bytes: int | None = None
    """How many of them are JSON, in the binary extension."""
    due: float = math.inf
    """Until when, by `time.monotonic()`, what it asks for may wait."""

    def decode(self) -> dict[str, Any]:
        """The JSON object that it is. Raises RequestError 415 where it is anything else, and
        422."""
        if self.kind != JSON:
            raise RequestError(415, f"content-type: expected {JSON} here, got {self.kind!r}")
        return decode_object(self.content)


async def read_body(request: Request, limit: int) -> Body:
    """At most `limit` bytes. Raises RequestError 413 or 415."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise RequestError(
            415, f"content-encoding: expected none, got {coding[:80]!r}; send the body uncompressed"
        )
    json_bytes = request.headers.get(JSON_BYTES)
    if json_bytes is None:
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind not in (JSON, ARROW):
            raise RequestError(415, f"content-type: expected {JSON} or {ARROW}, got {kind[:80]!r}")
    elif json_bytes.isdecimal() and len(json_bytes) < 20:
        kind = TENSORS
    else:
        raise RequestError(415, f"{JSON_BYTES}: expected a number, got {json_bytes[:40]!r}")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise RequestError(413, f"the body is larger than {limit} bytes")
    except ClientDisconnect:
        raise RequestError(400, "the client left before the body was complete") from None
    accepted = request.headers.get("accept", "").split(",")
    answer = ARROW if ARROW in [one.partition(";")[0].strip() for one in accepted] else JSON
    return Body(bytes(body), kind, answer, None if json_bytes is None else int(json_bytes))


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without repeated fields. Raises RequestError 422."""
    value = _decode(body)
    if not isinstance(value, dict):
        raise RequestError(422, "the body must be a JSON object")
    return value


def reply(value: Any, status: int = 200) -> Response:
    """A JSON response; text that has no UTF-8 is echoed escaped."""
    try:
        content = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        content = json.dumps(value, allow_nan=False).encode()
    return Response(content, status, media_type="application/json")


def _decode(body: bytes) -> Any:
    """By msgspec, ten times as fast as Python's own reader, where that would say the same.

    It refuses more (NaN, lone surrogates), and keeps the last of repeated fields silently. So what
    it refuses is read strictly, and so is what has other than two quotes, none of them escaped, for
    each name and each text of the value: a repeated field leaves some over."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_strictly(body)
    if b'\\"' in body or body.count(b'"') != 2 * _names_and_texts(value):
        return _decode_strictly(body)
    return value


def _names_and_texts(value: Any) -> int:
    """How many a JSON value holds; -1 where it is nested too deeply to count."""
    count, level = 0, [value]
    for _ in range(DEPTH):
        kinds = list(map(type, level))
        count += kinds.count(str)
        if dict not in kinds and list not in kinds:
            return count
        objects = [inner for inner in level if type(inner) is dict]
        count += sum(map(len, objects))
        lists = [inner for inner in level if type(inner) is list]
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
    return -1


def _decode_strictly(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise RequestError(422, "the body is not valid UTF-8") from None
    except RecursionError:
        raise RequestError(422, "the body is nested too deeply") from None
    except ValueError as error:
        raise RequestError(422, f"the body is not valid JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        name = next(iter(Counter(name for name, _ in pairs) - Counter(fields.keys())))
        raise RequestError(422, f"{name[:80]!r}: the field is there twice")
    return fields
