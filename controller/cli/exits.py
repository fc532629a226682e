"""Exit codes of the `plugfleet` command, and the error that carries one; docs/cli.md lists them."""

from __future__ import annotations

import enum
from collections.abc import Sequence


class Exit(enum.IntEnum):
    """What an exit code says to a script."""

    DONE = 0
    FOUND = 1  # what was looked at is not right: lint errors, failed hosts, a plan with changes
    WRONG_USE = 2  # the command line, a file, or what was asked for is wrong; nothing was changed
    NOT_REACHABLE = 3  # the controller does not answer, or cannot work now
    NOT_ALLOWED = 4  # no token, or not one that may do that


class CommandError(Exception):
    """Something that ends a command with one sentence.

    Args:
        message: what was wrong.
        hint: what to do about it.
        details: more lines, such as the fields that were refused.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Sequence[str] = (),
        exit_code: Exit = Exit.WRONG_USE,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = list(details)
        self.exit_code = exit_code
