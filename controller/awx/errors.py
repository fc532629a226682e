"""What goes wrong with AWX: it is away, does not have it, or refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.errors import PlugfleetError


class AwxError(PlugfleetError):
    """AWX does not do what it is asked; to ask again would not help."""

    status, code, title = 502, "awx", "AWX does not do it"


class AwxMissing(AwxError):
    """AWX does not have it, or this token may not see it."""


class AwxBegan(AwxError):
    """AWX began something else than it was asked for, which may still run."""


class AwxBarred(AwxError):
    """AWX does not let our token do it, or its certificate is not to be trusted: a setting to correct."""


class AwxAway(AwxError):
    """AWX does not answer now, or says that it cannot.

    Attributes:
        doubtful: it may have done it nevertheless.
        wait: seconds that it asks to be left alone for, or 0.
    """

    def __init__(self, message: str, *, doubtful: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.doubtful = doubtful
        self.wait = wait


def as_away(error: AwxError) -> AwxAway:
    """The same as something to wait for: while a job runs, somebody may put right what keeps us from it."""
    return error if isinstance(error, AwxAway) else AwxAway(sentence(error), doubtful=False)


def sentence(error: PlugfleetError) -> str:
    """An error and what to do about it."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def words(answer: Any, depth: int = 0) -> Iterator[str]:
    """The sentences of an error, whose form depends on where in AWX it comes from."""
    if isinstance(answer, str):
        yield answer
    elif depth < 5 and isinstance(answer, Mapping):
        for name, entry in answer.items():
            for word in words(entry, depth + 1):
                yield word if name in ("detail", "error") else f"{name}: {word}"
    elif depth < 5 and isinstance(answer, list):
        for entry in answer:
            yield from words(entry, depth + 1)
