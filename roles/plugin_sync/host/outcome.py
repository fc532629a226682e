"""What one step of a visit came to."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class StepFailed(Exception):
    """A step that could not be done; the message says what was wrong and what to do.

    code  one word for programs, kebab-case
    """

    def __init__(self, message: str, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


class Outcome:
    """Whether a step changed the host, and what to tell about it.

    msg       one line
    warnings  what the person should know although the step worked
    diff      {before, after, before_header, after_header} of files that were rewritten
    listed    what `/plugins` says of bound plugins: key -> {State, Reason}; None where it was not asked
    """

    __slots__ = ("changed", "diff", "listed", "msg", "warnings")

    def __init__(self, msg: str = "", changed: bool = False) -> None:
        self.changed = changed
        self.msg = msg
        self.warnings: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.listed: dict[str, dict[str, Any]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}
