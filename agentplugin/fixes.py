"""What can be corrected in a plugin's file without knowing what it does: the execute bit, CR LF line
ends, a missing last line end (which finding each one mends: docs/lint.md)."""

from __future__ import annotations

import os
import stat
import tempfile

from agentplugin.content import is_program
from agentplugin.shebangs import read_shebang
from agentplugin.treescan import FILE, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EXECUTE_BIT = "execute-bit"
LINE_ENDS = "line-ends"
FINAL_NEWLINE = "final-newline"

_MENDS = {
    "not-executable": EXECUTE_BIT,
    "manifest-command-not-executable": EXECUTE_BIT,
    "shebang-crlf": LINE_ENDS,
    "crlf": LINE_ENDS,
    "no-final-newline": FINAL_NEWLINE,
}


class Fix:
    """One correction of one file.

    path   relative to the plugin tree
    name   EXECUTE_BIT, LINE_ENDS or FINAL_NEWLINE
    left   why it cannot be done, or ""
    """

    __slots__ = ("left", "name", "path")

    def __init__(self, path: str, name: str, left: str = "") -> None:
        self.path = path
        self.name = name
        self.left = left

    def as_dict(self) -> dict[str, str]:
        """The correction as JSON."""
        return {"path": self.path, "fix": self.name, "left": self.left}


def fix_for(code: str, entry: Entry) -> Fix | None:
    """The correction of a finding about an entry, or None where only a person can mend it.

    Raises OSError where the file cannot be read.
    """
    name = _MENDS.get(code)
    if name is None:
        return None
    if entry.kind != FILE:
        target = os.readlink(entry.full)
        return Fix(entry.path, name, f"it is a link: correct the file that it names, {target}")
    head = entry.head()
    if name == EXECUTE_BIT:
        if read_shebang(head) is None and not is_program(head):
            return Fix(entry.path, name, "it neither begins with '#!' nor is a program")
    elif b"\0" in entry.content():
        return Fix(entry.path, name, "it is no text: it holds NUL bytes")
    return Fix(entry.path, name)


def corrected(content: bytes, names: Iterable[str]) -> bytes:
    """A file's content after these corrections; one that was made already changes nothing."""
    wanted = set(names)
    if LINE_ENDS in wanted:
        content = content.replace(b"\r\n", b"\n")
    if FINAL_NEWLINE in wanted and content and not content.endswith(b"\n"):
        content += b"\n"
    return content


def apply(root: str, path: str, names: Iterable[str]) -> None:
    """Corrects a file of a tree on disk; raises OSError where it cannot be written.

    A changed content replaces the file in one step, so that nobody runs half of it. A link is
    never followed.
    """
    full, wanted = os.path.join(root, path), set(names)
    status = os.lstat(full)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "no longer a regular file", path)
    mode = stat.S_IMODE(status.st_mode)
    if EXECUTE_BIT in wanted:
        # Whoever may read it may execute it, as `chmod +x` and git have it.
        mode |= (mode & 0o444) >> 2
    with open(full, "rb") as file:
        before = file.read()
    after = corrected(before, wanted)
    if after == before:
        os.chmod(full, mode)
        return
    # A name that nobody has, and that no agent takes for a plugin's.
    descriptor, partial = tempfile.mkstemp(".plugfleet-fix", ".", os.path.dirname(full))
    try:
        with open(descriptor, "wb") as file:
            file.write(after)
            os.fchmod(file.fileno(), mode)
        os.replace(partial, full)
    except OSError:
        os.unlink(partial)
        raise
