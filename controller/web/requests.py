"""What happens around every request: an id, one log line, how long it took, and how much it may send."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.operations.metrics import REQUEST_SECONDS

MOST_BODY = 32 * 1024**2  # bytes
_GIVEN_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
log = structlog.get_logger("controller.access")


class RequestLog:
    """Gives each request an id (or keeps the caller's), puts it into every log line, and times it.

    Plain ASGI: Starlette's BaseHTTPMiddleware would buffer event streams' disconnects.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GIVEN_ID.match(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "(none)")
            REQUEST_SECONDS.labels(scope["method"], route, str(status)).observe(seconds)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(seconds, 4),
            )
            structlog.contextvars.unbind_contextvars("request_id")


class BodyLimit:
    """Ends the reading of a body that is larger than anything that is taken, announced or not.

    The framework's own limit (`max_body_size`) would answer in plain text, not in the one error shape.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = int(Headers(scope=scope).get("content-length", "0"))
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = {} if announced > MOST_BODY else await receive()
            taken += len(message.get("body", b""))
            if max(announced, taken) > MOST_BODY:
                raise HTTPException(413)
            return message

        await self._app(scope, limited, send)
