"""What AWX refuses, and why, in words that help (awx/api/generics.py, exceptions.py and the serializers' errors).

AwxError: AWX does not do what was asked.
├── NotThere: it has no such object.
└── EventsPending: it removes it a little later.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator, Mapping
from typing import Any

_LATER = (429, 502, 503, 504)
# What AWX says of a missing right; other words on a 403 say themselves what is wrong.
_NO_RIGHT = "You do not have permission to perform this action."
# Fields whose values AWX keeps secret, some or all.
SECRET = frozenset({"inputs", "notification_configuration"})
# Of these, what is no secret and stands in AWX's own sentences.
_OPEN = frozenset(
    {
        "become_method",
        "become_username",
        "fields",
        "host",
        "http_method",
        "port",
        "recipients",
        "required",
    }
    | {"sender", "timeout", "use_ssl", "use_tls", "username", "verify_ssl"}
)
_QUOTED = 8  # characters of a secret that tell something of it
_SHORTEST = 4  # characters of a whole one; shorter ones are in any sentence


class AwxError(Exception):
    """AWX does not do what was asked; the message says why, and what to do."""


class NotThere(AwxError):
    """AWX has no such object."""


class EventsPending(AwxError):
    """AWX removes nothing whose job has ended just now, as its events are still being written."""


class Later(Exception):
    """AWX does not answer for now."""


def refusal(
    method: str,
    path: str,
    error: urllib.error.HTTPError,
    said: Any,
    url: str,
    body: Mapping[str, Any] | None,
) -> Exception:
    """What an answer that is an error means.

    Args:
        said: the answer's JSON, or text.
        url: AWX's address, as it was given.
        body: what was sent, of which no secret must be repeated.
    """
    status, what = error.code, f"{method} {path.partition('?')[0]}"
    detail = said.get("detail", "") if isinstance(said, dict) else ""
    if status in _LATER:
        return Later(f"AWX at {url} answered {status} to {what}; is it starting?")
    if status == 401:
        return AwxError(f"AWX at {url} does not know the token or password: it may be revoked")
    if status == 403 and "still processing events" in str(detail):
        return EventsPending(f"AWX refuses {what} for now: {detail}")
    if status == 403 and detail in ("", _NO_RIGHT):
        return AwxError(
            f"the token's user may not do {what}: {_fields(said, body)} Take one of a system administrator, as "
            "credential types can be made by nobody else"
        )
    if status == 404:
        return NotThere(f"AWX at {url} has no {path}; is that AWX's address?")
    if status == 409:
        return AwxError(
            f"AWX refuses {what}: {_fields(said, body)}. Let these jobs end, or cancel them (an approval: deny "
            "it), and run this again"
        )
    if 300 <= status < 400:
        elsewhere = error.headers.get("Location", "elsewhere")
        return AwxError(f"{url} sends on to {elsewhere}: give AWX's own address as awx_setup_url")
    return AwxError(f"AWX refuses {what} ({status}): {_fields(said, body)}")


def _fields(said: Any, body: Mapping[str, Any] | None) -> str:
    """The errors of each field, in one line."""
    hidden = [
        value
        for name, fields in (body or {}).items()
        if name in SECRET and isinstance(fields, Mapping)
        for field, value in fields.items()
        if field not in _OPEN
    ]
    secrets = list(_texts(hidden))
    if not isinstance(said, dict):
        told = str(said)[:500]
        return "its words quote a secret, and are left out" if _quotes(told, secrets) else told
    parts = []
    for name, found in said.items():
        words = " ".join(map(str, found)) if isinstance(found, list) else str(found)
        if _quotes(words, secrets):
            # It repeats the beginning of what is no private key, and all of what is no text.
            of = ", ".join(found) if isinstance(found, dict) else "a value"
            words = f"AWX does not take {of}, in words that quote it; it must be a text"
            if "ssh_key_data" in (body or {}).get("inputs", {}):
                words += ", and a private key a whole one in PEM"
        parts.append(words if name in ("detail", "error", "__all__") else f"{name}: {words}")
    return "; ".join(parts)


def _texts(value: Any) -> Iterator[str]:
    """Every text that a value holds, and every number as one."""
    if isinstance(value, (str, int, float)):
        yield str(value)
    elif isinstance(value, (Mapping, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _quotes(told: str, secrets: list[str]) -> bool:
    """Whether a text has enough of a secret to tell something of it."""
    return any(
        text[at : at + _QUOTED] in told
        for text in secrets
        if len(text) >= _SHORTEST
        for at in range(max(1, len(text) - _QUOTED + 1))
    )
