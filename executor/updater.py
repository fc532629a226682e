"""`/plugin/update`, `/plugin/reset` and `/plugin/status` from the daemon's side: the work is done
by a process of its own, so that git, its memory and its waits never delay a plugin.

Requests that come while one runs share the next run: ten callers cost two, and each sees a state
newer than its call.
"""

from __future__ import annotations

import json

from executor import updatecommand
from executor.errors import failure_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from executor.process import Child
    from executor.runtime import Runtime

_MAX_OUTPUT = 1 << 20
_OPTIONS = {"update": "--update", "reset": "--reset", "status": "--plugin-status"}


class Updater:
    """Runs one child at a time. `on_change` is called after each update or reset."""

    __slots__ = (
        "_action",
        "_answers",
        "_child",
        "_errors",
        "_on_change",
        "_output",
        "_queued",
        "_runtime",
    )

    def __init__(self, runtime: Runtime, on_change: Callable[[], None]) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._child: Child | None = None
        self._action = ""
        self._answers: list[Callable[[str], None]] = []
        self._queued: dict[str, list[Callable[[str], None]]] = {}
        self._output = b""
        self._errors = b""

    def request(self, action: str, answer: Callable[[str], None]) -> None:
        """`action`: update, reset or status. `answer(body)` is called when it is done."""
        self._queued.setdefault(action, []).append(answer)
        self._next()

    @property
    def busy(self) -> bool:
        return self._child is not None or bool(self._queued)

    def _next(self) -> None:
        if self._child is not None or not self._queued:
            return
        self._action = next(iter(self._queued))
        self._answers = self._queued.pop(self._action)
        self._output = b""
        self._errors = b""
        option, configuration = _OPTIONS[self._action], self._runtime.config
        try:
            self._child = self._runtime.children.fork(
                lambda: updatecommand.run(option, configuration),
                self._on_stdout,
                self._on_stderr,
                self._on_exit,
            )
        except OSError as failure:
            self._respond(self._failure(f"cannot start a process: {failure.strerror}"))

    def _on_stdout(self, data: bytes) -> None:
        self._output = (self._output + data)[:_MAX_OUTPUT]

    def _on_stderr(self, data: bytes) -> None:
        self._errors += data
        *lines, self._errors = self._errors.split(b"\n")
        self._errors = self._errors[:4096]
        for line in lines:
            self._runtime.log.info(f"{self._action}: {line.decode('utf-8', 'replace')}")

    def _on_exit(self, child: Child) -> None:
        self._child = None
        body = self._output.decode("utf-8", "replace").strip()
        if not body:
            said = self._errors.decode("utf-8", "replace").strip()
            how = (
                f"signal {-child.code}"
                if child.code and child.code < 0
                else f"exit status {child.code}"
            )
            body = self._failure(f"{how} {said}".strip())
        if self._action != "status":
            self._on_change()
        self._respond(body)

    def _respond(self, body: str) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer(body)
        self._next()

    def _failure(self, reason: str) -> str:
        if self._action == "status":
            return json.dumps({"msg": reason})
        return failure_body(self._action, self._runtime.plugin_dir, reason)
