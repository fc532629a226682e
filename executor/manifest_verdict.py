"""What the end of a manifest plugin's run, or a start that did not come about, says about the
plugin, and whether it is tried again.
"""

from __future__ import annotations

import errno

from agentplugin import formats
from executor import diagnosis
from executor.manifest_interpreters import python2_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.formats import Format
    from executor.manifest_launch import Launch
    from executor.manifest_output import Output

WELL, FAILURE, HOPELESS, TROUBLE = "well", "failure", "hopeless", "trouble"

_HOST_ERRORS = (
    errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC,
    errno.EROFS, errno.ETXTBSY,
)  # fmt: skip


class Verdict:
    """`state` and `reason`, and in `kind` what follows.

    WELL      the next run comes in time
    FAILURE   counts towards parking
    HOPELESS  nothing is tried before code or configuration change
    TROUBLE   the host's, not the plugin's: tried again for ever
    """

    __slots__ = ("kind", "reason", "state")

    def __init__(self, kind: str, state: str, reason: str) -> None:
        self.kind = kind
        self.state = state
        self.reason = reason


def of_run(
    launch: Launch, format_: Format, output: Output, code: int, left: int, search_path: str
) -> Verdict:
    """On a run that ended by itself with `code` and left that many processes behind."""
    if format_.name == formats.NAGIOS and 0 <= code <= 3:
        return _well(diagnosis.OK, output.take_check(code), left)
    if not code or launch.ignore_errors:
        if output.run_samples:
            return _well(diagnosis.OK, "", left)
        why = output.rejection or "ended without printing a measurement"
        if not output.rejection and output.last_stderr:
            why = diagnosis.one_line(f"{why}; stderr: {output.last_stderr}")
        return _well(diagnosis.NO_DATA, why, left)
    program, last = launch.argv[0], output.last_stderr
    outdated = python2_reason(launch.argv, last)
    if outdated:
        return Verdict(HOPELESS, diagnosis.UNSUPPORTED_RUNTIME, diagnosis.one_line(outdated))
    state, reason = diagnosis.exit_failure(program, code, last, search_path)
    return _bad(format_, state, reason)


def of_start(launch: Launch, format_: Format, failure: OSError, search_path: str) -> Verdict:
    """On a program that could not be executed."""
    state, reason = diagnosis.spawn_failure(launch.argv[0], failure, search_path)
    if failure.errno in _HOST_ERRORS:
        return Verdict(TROUBLE, state, reason)
    return _bad(format_, state, reason)


def _well(state: str, said: str, left: int) -> Verdict:
    if left:
        remark = f"left {left} processes behind, which were killed"
        said = f"{said}; {remark}" if said else remark
    return Verdict(WELL, state, said)


def _bad(format_: Format, state: str, reason: str) -> Verdict:
    # Programs of other formats run each step whatever comes, as those who wrote them expect.
    hopeless = state == diagnosis.UNSUPPORTED_RUNTIME and format_.name == formats.BOUNDARY
    return Verdict(HOPELESS if hopeless else FAILURE, state, reason)
