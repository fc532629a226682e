"""The controller's errors; each becomes one JSON problem (RFC 9457) and one exit code of the CLI.

PlugfleetError          500
├── NotFound            404  nothing of that name
├── Conflict            409  the state it is in does not allow that
├── Invalid             422  the request says something impossible; `fields` name what
├── PreconditionFailed  412  somebody else changed it since it was read
├── Unauthorized        401  no token, or not a known one
├── Forbidden           403  the token's scope or hostgroups do not reach that far
├── TooLarge            413  more than is taken at once
└── Unavailable         503  the database cannot be reached or is full; try again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class PlugfleetError(Exception):
    """Something that the caller is told in one sentence.

    Args:
        message: what was wrong, with the name or field.
        hint: what to do about it.
        fields: `{"field", "message"}` for each field of the request that was refused.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, message: str, *, hint: str = "", fields: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = list(fields)


class NotFound(PlugfleetError):
    """There is nothing of that name."""

    status, code, title = 404, "not-found", "Not found"


class Conflict(PlugfleetError):
    """What is there already, or its state, does not allow that."""

    status, code, title = 409, "conflict", "Conflict"


class Invalid(PlugfleetError):
    """The request says something that cannot be."""

    status, code, title = 422, "invalid", "Invalid request"


class PreconditionFailed(PlugfleetError):
    """Somebody else changed it since it was read."""

    status, code, title = 412, "precondition-failed", "Changed by somebody else"


class Unauthorized(PlugfleetError):
    """No token was given, or it is not known, expired or revoked."""

    status, code, title = 401, "unauthorized", "Token needed"


class Forbidden(PlugfleetError):
    """The token's scope or hostgroups do not allow that."""

    status, code, title = 403, "forbidden", "Not allowed"


class TooLarge(PlugfleetError):
    """More than is taken in one request."""

    status, code, title = 413, "too-large", "Too large"


class Unavailable(PlugfleetError):
    """The database cannot be reached, is locked, or its disk is full."""

    status, code, title = 503, "unavailable", "Not available now"
