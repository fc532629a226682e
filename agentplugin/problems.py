"""The one shape in which everything that is wrong with a plugin is said."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERROR = "error"
WARNING = "warning"
INFO = "info"

_RANK = {ERROR: 0, WARNING: 1, INFO: 2}


class Problem:
    """One finding.

    path      what it is about, relative to the plugin tree ("" where there is no file)
    line      1-based line in that file, or None
    severity  "error" (data or an agent is lost), "warning" (will hurt somebody), "info"
    code      kebab-case, stable, documented in docs/lint.md or docs/metrics.md
    message   what was wrong, with its consequence
    hint      what to do about it
    fixable   whether the lint can mend it by itself (see agentplugin.fixes)
    pointer   JSON pointer to what is wrong in a JSON file ("" its top), or None
    """

    __slots__ = ("code", "fixable", "hint", "line", "message", "path", "pointer", "severity")

    def __init__(
        self,
        path: str,
        line: int | None,
        severity: str,
        code: str,
        message: str,
        hint: str,
        pointer: str | None = None,
    ) -> None:
        self.path = path
        self.line = line
        self.severity = severity
        self.code = code
        self.message = message
        self.hint = hint
        self.fixable = False
        self.pointer = pointer

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON, in the order in which the lint prints it."""
        return {
            "path": self.path,
            "line": self.line,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }

    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Orders findings by place, the gravest first where several share one."""
        return (self.path, self.line or 0, _RANK[self.severity], self.code, self.message)

    def __str__(self) -> str:
        place = self.path
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        head = f"{place}: " if place else ""
        tail = f" ({self.hint})" if self.hint else ""
        return f"{head}{self.severity}: {self.message}{tail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, code={self.code!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # findings are compared, never keys


def error(
    path: str,
    code: str,
    message: str,
    hint: str,
    line: int | None = None,
    pointer: str | None = None,
) -> Problem:
    """A Problem of severity "error"."""
    return Problem(path, line, ERROR, code, message, hint, pointer)


def warning(
    path: str,
    code: str,
    message: str,
    hint: str,
    line: int | None = None,
    pointer: str | None = None,
) -> Problem:
    """A Problem of severity "warning"."""
    return Problem(path, line, WARNING, code, message, hint, pointer)


def info(
    path: str,
    code: str,
    message: str,
    hint: str,
    line: int | None = None,
    pointer: str | None = None,
) -> Problem:
    """A Problem of severity "info"."""
    return Problem(path, line, INFO, code, message, hint, pointer)


def shown(text: str, limit: int = 60) -> str:
    """`text` fit for one line of a message: quoted, control characters escaped, cut to `limit`.

    >>> print(shown("a\\nb"))
    'a\\nb'
    """
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return ascii(cut) if _needs_escape(cut) else f"'{cut}'"


def _needs_escape(text: str) -> bool:
    return not text.isprintable() or "'" in text
