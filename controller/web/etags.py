"""ETags against lost updates: a thing's version, given back in If-Match when it is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.errors import PreconditionFailed

if TYPE_CHECKING:
    from fastapi import Response


def etag(version: int | str) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def show(response: Response, version: int) -> None:
    """Put a thing's ETag into its answer."""
    response.headers["ETag"] = etag(version)


def check(given: str | None, version: int) -> None:
    """Refuse a change of something that is no longer what the caller read.

    Raises:
        PreconditionFailed: the versions differ.
    """
    if given is None or given.strip() == "*":
        return
    if etag(version) not in [part.strip() for part in given.split(",")]:
        raise PreconditionFailed(
            f"it was changed since it was read: it is {etag(version)} now, not {given[:80]}",
            hint="read it again and repeat the change",
        )


def matches(given: str | None, version: int | str) -> bool:
    """Whether a caller's If-None-Match holds the version; weak comparison, as RFC 9110 wants it."""
    if not given:
        return False
    tags = [part.strip().removeprefix("W/") for part in given.split(",")]
    return "*" in tags or etag(version) in tags
