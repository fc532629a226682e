"""The one error shape: a problem as of RFC 9457, for our own errors and the framework's alike."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from agentplugin.agents import explained
from controller.catalog.errors import Busy, CatalogError, LintError, NoRoom
from controller.errors import Conflict, Invalid, PlugfleetError, TooLarge, Unavailable
from controller.web.fields import NAME_PATTERN
from controller.web.requests import MOST_BODY

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """One field of the request that was refused."""

    field: Annotated[str, Field(description="Where it is, e.g. `body.name`.")]
    message: Annotated[str, Field(description="What is wrong with it.")]


class Problem(BaseModel):
    """What every error is answered with (RFC 9457)."""

    type: Annotated[str, Field(description="`urn:plugfleet:problem:` and the code.")]
    title: Annotated[str, Field(description="The kind of error; the same for each of a kind.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    code: Annotated[str, Field(description="The kind of error, for programs.")]
    detail: Annotated[str, Field(description="What was wrong with this request.")]
    hint: Annotated[str, Field(description="What to do about it; may be empty.")] = ""
    fields: Annotated[list[FieldProblem], Field(description="The fields that were refused.")] = []
    request_id: Annotated[str, Field(description="As in the log and the X-Request-ID header.")] = ""


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems that it may answer."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": schema}
        for status in sorted(statuses)
    }


def problem_response(request: Request, error: PlugfleetError) -> Response:
    """The answer that an error becomes."""
    problem = Problem(
        type=f"urn:plugfleet:problem:{error.code}",
        title=error.title,
        status=error.status,
        code=error.code,
        detail=error.message,
        hint=error.hint,
        fields=[FieldProblem(**field) for field in error.fields],
        request_id=getattr(request.state, "request_id", ""),
    )
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.status == 503:
        headers["Retry-After"] = "5"
    # In ASCII: what was refused may be no text that UTF-8 has.
    return Response(
        json.dumps(problem.model_dump()),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Let every error of an application be answered in the one shape."""
    app.add_exception_handler(PlugfleetError, _ours)
    app.add_exception_handler(CatalogError, _catalog)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PlugfleetError)
    if error.status >= 500:
        log.error("request failed", error=str(error))
    return problem_response(request, error)


async def _catalog(request: Request, error: Exception) -> Response:
    if isinstance(error, Busy):
        return problem_response(request, Conflict(str(error)))
    if isinstance(error, NoRoom):
        return await _ours(request, _no_room(str(error)))
    fields = []
    if isinstance(error, LintError):
        fields = [
            {"field": p["path"], "message": f"{explained(p)} [{p['code']}]"}
            for p in error.problems
            if p["severity"] == "error"
        ]
    return problem_response(request, Invalid(str(error), fields=fields))


async def _system(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" with {error.filename}" if error.filename else ""
        return await _ours(request, _no_room(f"the disk{place} is full"))
    return await _unexpected(request, error)


def _no_room(message: str) -> Unavailable:
    return Unavailable(message, hint="nothing was changed; make room on the controller's machine")


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": ".".join(str(part) for part in e["loc"]), "message": said(e)}
        for e in error.errors()
    ]
    detail = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:5])
    return problem_response(request, Invalid(detail, fields=fields))


def said(error: Mapping[str, Any]) -> str:
    """What is wrong with one field, in words; a regular expression is none."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == NAME_PATTERN:
        message = "must begin with a letter or digit and hold only letters, digits, _ . and -"
    return message


async def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: no such route, a method that it does not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        # A body that is no text at all; one that is no JSON is refused as 422 by the framework itself.
        unreadable = Invalid("the request's body cannot be read", hint="send it in UTF-8")
        return problem_response(request, unreadable)
    if error.status_code == 413:
        too_large = TooLarge(f"the body is more than {MOST_BODY} bytes", hint="send less at once")
        return problem_response(request, too_large)
    phrase = HTTPStatus(error.status_code).phrase
    problem = PlugfleetError(str(error.detail))
    problem.status, problem.title = error.status_code, phrase  # type: ignore[misc]
    problem.code = phrase.lower().replace(" ", "-")  # type: ignore[misc]
    response = problem_response(request, problem)
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return problem_response(
        request,
        PlugfleetError(
            "something went wrong that nobody thought of; it is in the controller's log",
            hint="please report it with the request_id",
        ),
    )
