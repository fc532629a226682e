"""Which git URLs a source may have, and how its credentials are kept apart from it.

git itself runs commands for some URLs (`ext::`, a scheme that names a remote helper) and reads
options from others (a leading dash, `--upload-pack`); those are refused here, before git sees
them. Credentials in a URL would show in process lists, in FETCH_HEAD and in error messages: they
are split off at once, so that only the clean URL is ever printed, stored or published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from controller.catalog.errors import SourceError

# user@host:path. The host must not start with a dash: ssh would take it as an option
# (CVE-2017-1000117).
_SCP_LIKE = re.compile(r"^(?:[A-Za-z0-9_.][\w.-]*@)?[A-Za-z0-9_.][\w.-]*:(?![/\\]{2}|:)[^\s]+$")
_SCHEMES = {"git", "https", "http", "ssh", "file"}
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")


@dataclass(frozen=True)
class SourceUrl:
    """A git URL that is safe to hand to git.

    Attributes:
        clean: the URL without credentials; what logs, releases and hosts may see.
        username: the user name for HTTP, or "".
        password: the password or token for HTTP, or ""; never part of `repr`.
    """

    clean: str
    username: str = ""
    password: str = field(default="", repr=False)


def parse_source_url(url: str, *, base: Path) -> SourceUrl:
    """Check a source's URL and split off its credentials.

    Args:
        url: git://, https://, http:// (without credentials), ssh://, user@host:path, file:// or
            a local path.
        base: folder that a relative path is resolved against.

    Raises:
        SourceError: the URL could run a command, or is of no supported form.
    """
    shown = redact(url)
    if not url or not url.strip():
        raise SourceError("a source's url is empty; give a git URL or the path of a repository")
    if any(ord(c) < 32 or ord(c) == 127 for c in url):
        raise SourceError(f"source url {shown!r} holds control characters")
    if url.startswith("-"):
        raise SourceError(f"source url {shown!r} starts with a dash, which git takes for an option")
    if re.match(r"^[A-Za-z0-9+.-]+::", url):
        raise SourceError(
            f"source url {shown!r} names a git remote helper, which can run any command; "
            "use git://, https://, ssh:// or a local path"
        )
    if "://" not in url:
        if _SCP_LIKE.match(url) and not url.startswith((".", "/")):
            return SourceUrl(clean=url)
        if ":" in url.split("/", 1)[0]:
            raise SourceError(f"source url {shown!r} is neither a URL, host:path nor a local path")
        try:
            return SourceUrl(clean=str((base / Path(url).expanduser()).resolve()))
        except (RuntimeError, OSError) as error:
            # No such user's home folder; a name too long, or links that go round in a circle.
            raise SourceError(f"source url {shown!r} is no usable path: {error}") from None
    return _parse_standard(url, shown)


def _parse_standard(url: str, shown: str) -> SourceUrl:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"source url {shown!r} is not a valid URL: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES:
        raise SourceError(
            f"source url {shown!r} has the scheme {scheme!r}; "
            "use git://, https://, ssh:// or a local path"
        )
    if scheme == "file":
        return SourceUrl(clean=url)
    host = parts.hostname or ""
    if not host or host.startswith("-"):
        raise SourceError(f"source url {shown!r} has no usable host name")
    user = unquote(parts.username or "")
    if user.startswith("-") or parts.path.startswith("/-"):
        raise SourceError(f"source url {shown!r} has a part that starts with a dash")
    if scheme == "ssh":
        if parts.password:
            raise SourceError(f"source url {shown!r} holds a password; ssh:// takes keys only")
        return SourceUrl(clean=url)
    if scheme in ("git", "http") and (parts.password or parts.username):
        raise SourceError(
            f"source url {shown!r} would send its credentials unencrypted; use https://"
        )
    bare_host = f"[{host}]" if ":" in host else host
    netloc = bare_host + (f":{port}" if port else "")
    clean = urlunsplit((scheme, netloc, parts.path, parts.query, ""))
    return SourceUrl(clean=clean, username=user, password=unquote(parts.password or ""))


def redact(text: str) -> str:
    """Replace what stands between `://` and `@` in every URL of a text, so that it can be shown."""
    return re.sub(r"(?<=://)[^/\s@]+(?:@[^/\s@]+)*@", "***@", text)


def check_ref(ref: str) -> str:
    """Return the ref if it is a plain branch, tag or commit name.

    Raises:
        SourceError: it could be read as an option or a revision expression.
    """
    if not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref.endswith((".lock", "/", ".")):
        raise SourceError(
            f"ref {ref!r} is not a branch, tag or commit name "
            "(letters, digits and _ . / + @ -, not starting with - or .)"
        )
    return ref
