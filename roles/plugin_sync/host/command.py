"""Running git and other programs on a host: as the agent's user, never prompting, bounded."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess

from roles.plugin_sync.host.outcome import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# A repository's own settings must not run anything while we look after it.
GIT_INERT = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]


def become(user: str) -> Callable[[], None] | None:
    """What a child process does to run as `user`; None where it need not change.

    Working in a repository as another user than its owner would make git refuse it ("dubious
    ownership"), and leave files that the agent cannot replace.
    """
    if os.geteuid() != 0 or user in ("", "root"):
        return None
    entry = account(user)

    def change() -> None:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return change


def account(user: str) -> pwd.struct_passwd:
    """The account of a user name."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise StepFailed(
            f"there is no user {user!r} on this host; create it or set plugin_sync_user", "no-user"
        ) from None


def run(
    command: list[str],
    user: str = "",
    data: bytes | None = None,
    timeout: float = 60,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program; returns its exit status and its output with its errors, stripped."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    # An ordinary account's PATH, which sudo may leave as it is, has no useradd.
    environment["PATH"] = environment.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    environment.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1", **(env or {}))
    change = become(user)
    if change:
        # Root's home is closed to the agent's user, and git stops at a file it may not read.
        environment["HOME"] = account(user).pw_dir
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            preexec_fn=change,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise StepFailed(
            f"{command[0]} is not installed on this host; install it", "no-" + command[0]
        ) from None
    try:
        output, _ = process.communicate(data, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return 124, f"no answer within {timeout:g} s"
    return process.returncode, output.decode("utf-8", "replace").strip()


def git(
    repository: str, args: list[str], user: str = "", data: bytes | None = None
) -> tuple[int, str]:
    """Run git in a repository or checkout; returns its exit status and output."""
    return run(["git", *GIT_INERT, "-C", repository, *args], user, data)
