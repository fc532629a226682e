"""Moments as people write them on a command line: `12h`, `30d`, `8w`, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from controller.cli.exits import CommandError

_SPAN = re.compile(r"^(\d{1,5})([mhdw])$")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def future(text: str, option: str) -> str:
    """A span from now on, or a date, as the API takes moments.

    Raises:
        CommandError: it is neither.
    """
    return _moment(text, option, 1)


def past(text: str, option: str) -> str:
    """A span before now, or a date, as the API takes moments.

    Raises:
        CommandError: it is neither.
    """
    return _moment(text, option, -1)


def _moment(text: str, option: str, sign: int) -> str:
    span = _SPAN.match(text)
    try:
        if span:
            return (datetime.now(UTC) + sign * int(span[1]) * _UNITS[span[2]]).isoformat()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).isoformat()
    except (ValueError, OverflowError):
        raise CommandError(
            f"{option} {text!r} is no span or date", hint="write 12h, 30d, 8w or 2027-01-31"
        ) from None
