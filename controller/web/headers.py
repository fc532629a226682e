"""Headers that requests give their conditions in (RFC 9110, section 13)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

IfMatch = Annotated[
    str | None,
    Header(
        description="The ETag that was read; the change is refused (412) if it is no longer that."
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(description="ETags that the caller has; 304 without a body if it is one.")
]
