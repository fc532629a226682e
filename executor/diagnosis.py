"""Why a plugin gave no data, in one line a person can act on. The causes are those that were
measured to keep 17 of 21 public plugins silent; what is wrong with a file itself is agentplugin's
to say."""

from __future__ import annotations

import errno
import os
import signal

from agentplugin import content

WAITING = "waiting"
RUNNING = "running"
OK = "ok"
NO_DATA = "no-data"
FAILED = "failed"
TIMEOUT = "timeout"
NOT_EXECUTABLE = "not-executable"
MISSING = "missing"
UNSUPPORTED_RUNTIME = "unsupported-runtime"
UNSUPPORTED_PLATFORM = "unsupported-platform"
INSTALLING = "installing"
POSTEXTRACT_NOT_ALLOWED = "postextract-not-allowed"
POSTEXTRACT_FAILED = "postextract-failed"
PARKED = "parked"

_STATE_OF_CODE = {"not-executable": NOT_EXECUTABLE, "interpreter-missing": UNSUPPORTED_RUNTIME}
_SHOWN = 240


def spawn_failure(path: str, failure: OSError, search_path: str) -> tuple[str, str]:
    """(state, reason) for a file that the kernel would not execute. `search_path`: the plugins'
    PATH.
    """
    if failure.errno in (errno.EMFILE, errno.ENFILE):
        return FAILED, "too many files are open at once: raise LimitNOFILE of the executor's unit"
    if failure.errno in (errno.EAGAIN, errno.ENOMEM):
        return FAILED, f"the host has no room for one more process: {failure.strerror}"
    if not os.path.lexists(path):
        return MISSING, "the file is not there any more: it was bound, then removed from the tree"
    state, reason = _file_failure(path, search_path)
    if reason:
        return state, reason
    if failure.errno in (errno.EACCES, errno.EPERM):
        where = f"uid {os.geteuid()} may not execute it, or its file system is mounted noexec"
        return NOT_EXECUTABLE, where
    if failure.errno == errno.ENOEXEC:
        return FAILED, "is no program for this machine (exec format error)"
    return FAILED, f"cannot be started: {failure.strerror}"


def exit_failure(path: str, code: int, last_stderr: str, search_path: str) -> tuple[str, str]:
    """(state, reason) for a run that ended with an exit code other than 0, or by a signal (code <
    0).
    """
    if code in (126, 127):
        # /usr/bin/env answers so when it finds no interpreter; the agent does not even log it.
        state, reason = _file_failure(path, search_path)
        if reason:
            return state, reason
    return FAILED, ending(code, last_stderr)


def ending(code: int, last_stderr: str) -> str:
    """How a process ended, with the last thing that it said."""
    how = f"was ended by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
    return one_line(f"{how}: {last_stderr}" if last_stderr else how)


def one_line(text: str) -> str:
    """`text` as one line of at most 240 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."


def _file_failure(path: str, search_path: str) -> tuple[str, str]:
    problem = content.why_not_runnable(path, search_path)
    if problem is None:
        return FAILED, ""
    text = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return _STATE_OF_CODE.get(problem.code, FAILED), one_line(text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
