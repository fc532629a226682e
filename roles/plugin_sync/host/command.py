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
# An execute bit that is gone counts, whatever they say: a plugin without one does not run.
GIT_INERT = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
             "-c", "core.fileMode=true", "-c", "gc.auto=0"]  # fmt: skip

# Descriptors of locks that every git holds too: one that outlives a killed visit keeps the next
# visit waiting until it has ended.
held_by_git: list[int] = []


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


def give_to(path: str, user: str) -> None:
    """Make the user the owner of a file or folder that we have made; no link is followed."""
    if become(user):
        entry = account(user)
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def as_user(user: str, work: Callable[[], object]) -> None:
    """Do something in a copy of this process that is the user's.

    Below folders that the user owns, a link that it put there would lead root anywhere.

    Raises:
        OSError: what the work raised, or that the copy ended without a word.
    """
    change = become(user)
    if change is None:
        work()
        return
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            change()
            work()
            status = 0
        except OSError as error:
            os.write(writer, f"{error.errno or 0}\0{error.filename or ''}".encode()[:4096])
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        number, _, name = pipe.read().decode("utf-8", "replace").partition("\0")
    if os.waitpid(pid, 0)[1]:
        reason = os.strerror(int(number)) if number else f"what is done as {user} ended early"
        raise OSError(int(number or 0), reason, name or None)


def write_as(user: str, path: str, content: bytes) -> None:
    """Write a file below a folder that the user owns, as that user."""
    status, output = run(["/bin/sh", "-c", 'umask 022; cat > "$0"', path], user, content)
    if status:
        raise StepFailed(f"{path} could not be written: {output}", "write")


def output_of(
    command: list[str],
    user: str = "",
    data: bytes | None = None,
    timeout: float = 60,
    env: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run a program; returns its exit status and its output with its errors, as they are."""
    change = become(user)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(user if change else "", env),
            cwd="/",
            preexec_fn=change,
            start_new_session=True,
            pass_fds=held_by_git if command[0] == "git" else (),
        )
    except FileNotFoundError:
        raise StepFailed(
            f"{command[0]} is not installed on this host; install it", "no-" + command[0]
        ) from None
    try:
        output, _ = process.communicate(data, timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        return 124, f"no answer within {timeout:g} s".encode()
    except BaseException:
        # The visit's own time is up.
        _end(process)
        raise
    return process.returncode, output


def run(
    command: list[str],
    user: str = "",
    data: bytes | None = None,
    timeout: float = 60,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program; returns its exit status and its output with its errors, as stripped text."""
    status, output = output_of(command, user, data, timeout, env)
    return status, output.decode("utf-8", "replace").strip()


def start_with(
    command: list[str],
    timeout: float,
    log: str,
    user: str = "",
    folder: str = "/",
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command that leaves a daemon behind; returns its exit status and its words.

    Args:
        log: the file for its words, begun anew. A daemon may hold it open for ever, which a pipe, or
            a file without a name, would make it pay for.
        user: the account to run as; also of the daemon.
        folder: the working directory.
        env: the whole environment; None is this program's, without what belongs to the visit.
    """
    change = become(user)
    if env is None:
        env = _environment(user if change else "", None)
        # Of this visit, not of the daemon nor of what it runs.
        for name in [n for n in env if n.startswith(("GIT_", "SSH_", "SUDO_", "XDG_", "LC_"))]:
            del env[name]
    descriptor = os.open(
        log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "rb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=folder,
            env=env,
            preexec_fn=change,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 124, f"not done within {timeout:g} s"
        said.seek(0)
        return status, said.read(65536).decode("utf-8", "replace").strip()


def git(
    repository: str,
    args: list[str],
    user: str = "",
    data: bytes | None = None,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run git in a repository or checkout; returns its exit status and output."""
    status, output = git_bytes(repository, args, user, data, env)
    return status, output.decode("utf-8", "replace").strip()


def git_bytes(
    repository: str,
    args: list[str],
    user: str = "",
    data: bytes | None = None,
    env: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run git in a repository or checkout; returns its exit status and its bare output."""
    # A folder that is no repository must not be taken for a part of one further up.
    ceiling = os.path.dirname(os.path.realpath(repository))
    return output_of(
        ["git", *GIT_INERT, "-C", repository, *args],
        user,
        data,
        env=dict(env or {}, GIT_CEILING_DIRECTORIES=ceiling),
    )


def _environment(user: str, more: dict[str, str] | None) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment.update(
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        GIT_CONFIG_NOSYSTEM="1",
        # Looking at a checkout must not get into the way of the agent's own git.
        GIT_OPTIONAL_LOCKS="0",
    )
    # An ordinary account's PATH, which sudo may leave as it is, has no useradd.
    environment["PATH"] = environment.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    environment.update(more or {})
    if user:
        # Root's home is closed to the agent's user, and git stops at a file it may not read.
        environment["HOME"] = account(user).pw_dir
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
