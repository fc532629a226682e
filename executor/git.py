"""git, run so that nothing outside the executor's own settings can steer it: no prompts, no hooks,
no user's configuration, only transports that cannot run a command. Runs in the update's own
process, a copy of the daemon: so that no update has to load or compile it (7 ms; the daemon
carries 0.3 MB for it, both measured).
"""

from __future__ import annotations

import os
import re

from executor.config import without_credentials
from executor.errors import CheckoutError

NETWORK_TIMEOUT = 60.0
LOCAL_TIMEOUT = 300.0

_URL = re.compile(r"(git|https?|ssh|file)://[^\s]+")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*:(?!//)[^\s:][^\s]*")


class Git:
    """`git` with a home of its own in `home`, which declares `trusted` repositories of other users
    safe.
    """

    __slots__ = ("_env", "_inherited")

    def __init__(self, home: str, trusted: list[str], lock_fd: int) -> None:
        os.makedirs(home, mode=0o700, exist_ok=True)
        lines = ["[safe]"] + [f"\tdirectory = {_quoted(path)}" for path in trusted]
        lines += ["[core]", "\thooksPath = /dev/null", "\tfsmonitor = false", "\tautocrlf = false"]
        lines += ["\tattributesFile = /dev/null", "[gc]", "\tauto = 0", ""]
        with open(os.path.join(home, ".gitconfig"), "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines))
        # A git that outlives a killed update still holds the lock, so the next update waits for it.
        self._inherited = (lock_fd,)
        kept = ("PATH", "SSH_AUTH_SOCK", "LANG", "TZ", "GIT_SSL_CAINFO", "https_proxy", "no_proxy")
        self._env = {name: os.environ[name] for name in kept if name in os.environ}
        self._env.update(
            HOME=home,
            LC_ALL="C",
            GIT_CONFIG_NOSYSTEM="1",
            GIT_TERMINAL_PROMPT="0",
            GIT_ASKPASS="/bin/false",
            GIT_ALLOW_PROTOCOL="file:git:http:https:ssh",
            GIT_SSH_COMMAND="ssh -o BatchMode=yes -o ConnectTimeout=10",
            GIT_OPTIONAL_LOCKS="0",
        )

    def __call__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        data: bytes | None = None,
        timeout: float = LOCAL_TIMEOUT,
        accept: tuple[int, ...] = (0,),
    ) -> bytes:
        """stdout of `git arguments`; CheckoutError with what git said for an exit code not in
        `accept`.
        """
        import subprocess  # 0.4 MB that the daemon itself never needs

        try:
            done = subprocess.run(
                ["git", *arguments],
                env=dict(self._env, **(env or {})),
                input=data,
                stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True,
                timeout=timeout,
                pass_fds=self._inherited,
                check=False,
            )
        except FileNotFoundError:
            raise CheckoutError('exec: "git": executable file not found in $PATH') from None
        except subprocess.TimeoutExpired:
            raise CheckoutError(f"git {_verb(arguments)} took more than {timeout:g} s") from None
        if done.returncode not in accept:
            raise CheckoutError(
                f"exit status {done.returncode}: git {_verb(arguments)}: {_gist(done.stderr)}"
            )
        return done.stdout

    def line(self, *arguments: str) -> str:
        """The one line that git prints."""
        return self(*arguments).decode("utf-8", "replace").strip()


def is_url(git: str) -> bool:
    """Whether `plugin.git` needs a fetch; False for a repository on this disk. CheckoutError if it
    is neither.
    """
    if not git:
        raise CheckoutError("plugin.git is empty: set it to the mirror's path or a git URL")
    if git.startswith("/"):
        return False
    if git.startswith("-") or "::" in git or any(char < " " for char in git):
        raise CheckoutError(f"plugin.git {git!r} is refused: it could run a command")
    if _URL.fullmatch(git):
        host = git.split("://", 1)[1].split("@")[-1]
        if host.startswith("-"):
            raise CheckoutError(f"plugin.git {git!r} is refused: it could run a command")
        return not git.startswith("file://")
    if _SCP_LIKE.fullmatch(git):
        return True
    raise CheckoutError(
        f"plugin.git {git!r} is no absolute path, and no git://, https:// or ssh URL"
    )


def local_path(git: str) -> str:
    """The path of a repository on this disk."""
    return git[len("file://") :] if git.startswith("file://") else git


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _gist(stderr: bytes) -> str:
    """The two lines of git's that say most, without a URL's credentials."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    telling = [
        line for line in lines if line.strip() and not line.startswith(("warning:", "hint:"))
    ]
    return without_credentials("; ".join(telling[:2]))


def _verb(arguments: tuple[str, ...]) -> str:
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("-c", "-C"):
            skip = True
        elif not word.startswith("-"):
            return word
    return ""
