"""What is said about a manifest plugin, and how patient one is with it: after how many failures it
is parked, and how long the pauses between two tries are.
"""

from __future__ import annotations

import time

from executor import diagnosis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.log import Log

MAX_FAILURES = 5
SOUND_AFTER = 600.0
"""Seconds of running after which earlier crashes are forgotten."""

NO_DATA_AFTER = 180.0
"""Seconds without a value after which one that runs is `no-data`, or three of its poll intervals."""

_MOST_DOUBLINGS = 6
_SAY_AGAIN = 60.0
_QUIET_STATES = (diagnosis.OK, diagnosis.WAITING, diagnosis.RUNNING, diagnosis.INSTALLING)


class Standing:
    """`state` and `reason` as they were noted last.

    failures  of the plugin in a row; troubles  of the host in a row
    """

    __slots__ = (
        "_key",
        "_log",
        "_said",
        "_said_at",
        "_value_at",
        "_values",
        "failures",
        "reason",
        "state",
        "troubles",
    )

    def __init__(self, key: str, log: Log) -> None:
        self._key = key
        self._log = log
        self._said = ("", "")
        self._said_at = 0.0
        self._values = 0
        self._value_at = time.monotonic()
        self.state = diagnosis.WAITING
        self.reason = ""
        self.failures = self.troubles = 0

    def note(self, state: str, reason: str) -> None:
        """A bad state is logged when it comes; another reason for it once a minute."""
        self.state = state
        self.reason = reason
        if state == diagnosis.OK:
            self._said = ("", "")
        if state in _QUIET_STATES or (state, reason) == self._said:
            return
        now = time.monotonic()
        if state != self._said[0] or now - self._said_at > _SAY_AGAIN:
            self._said = (state, reason)
            self._said_at = now
            self._log.warning(f"plugin {self._key}: {state}: {reason}")

    def started(self, *, had_values: bool) -> None:
        """A run begins; `had_values`: an earlier one gave some."""
        self.troubles = 0
        self._values = 0
        self._value_at = time.monotonic()
        if not had_values or self.state != diagnosis.OK:
            self.note(diagnosis.RUNNING, "")

    def heard(self, values: int, *, runs_for_ever: bool) -> None:
        """It printed something: this run has given so many values by now."""
        if values != self._values:
            self._values = values
            self._value_at = time.monotonic()
        if values and runs_for_ever:
            self.note(diagnosis.OK, "")

    def while_running(self, poll_seconds: float, rejection: str) -> tuple[str, str]:
        """(state, reason) of one that is expected to stay: without values it is not `ok` for ever.

        rejection  why the last line of this run was not taken, ""
        """
        if not self._values and rejection:
            return diagnosis.NO_DATA, f"prints no measurement: {rejection}"
        silent = time.monotonic() - self._value_at
        if silent <= max(NO_DATA_AFTER, 3 * poll_seconds):
            return self.state, self.reason
        said = f"runs, and printed no measurement for {silent:.0f} s"
        return diagnosis.NO_DATA, f"{said}: {rejection}" if rejection else said

    def begin_anew(self) -> None:
        """Code or configuration are others now."""
        self.forget_failures()
        self._said = ("", "")

    def forget_failures(self) -> None:
        """It ended well."""
        self.failures = self.troubles = 0

    def failed(self, state: str, reason: str, ran: float, *, may_park: bool) -> float | None:
        """It failed after running for `ran` seconds: in how many pauses it starts again, None for
        parked.
        """
        self.troubles = 0
        self.failures = 1 if ran > SOUND_AFTER else self.failures + 1
        if may_park and self.failures >= MAX_FAILURES:
            self.note(
                diagnosis.PARKED,
                f"failed {self.failures} times, the last time: {reason}; "
                "it starts again when its configuration or code changes",
            )
            return None
        self.note(state, reason)
        return _doubled(self.failures)

    def troubled(self, reason: str) -> float:
        """The host could not start it: in how many pauses it is tried again, for ever."""
        self.troubles += 1
        self.note(
            diagnosis.FAILED,
            diagnosis.one_line(f"the host cannot start it: {reason}") + "; it is tried again",
        )
        return _doubled(self.troubles)


def _doubled(times: int) -> float:
    return 2.0 ** min(times - 1, _MOST_DOUBLINGS)
