"""One release: a read-only checkout that shares the mirror's objects, built file by file with
git's own plumbing.
"""

from __future__ import annotations

import os
import re
import stat

from executor.errors import CheckoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.git import Git

_NAME = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})(\.r[0-9]+)?")
# What `save_edits` works with, each named after its process; git locks an index it writes.
SCRATCH = re.compile(r"(index|objects|patch)-[0-9]+(\.lock)?")
_BIG_FILE = 1 << 20
# From here on one syncfs is cheaper than a journal commit for each file, though it also waits for
# what other programs have written.
_MANY_FILES = 64

# What is on the host is the blob, byte for byte, whatever a .gitattributes in the tree asks for.
_ATTRIBUTES = "* -text -eol -ident -filter -working-tree-encoding\n"
_CONFIG = """[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = false
\tlogallrefupdates = false
\tautocrlf = false
\thooksPath = /dev/null
\tfsmonitor = false
"""


class Release:
    """A folder named after its commit."""

    __slots__ = ("commit", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.commit = os.path.basename(path).split(".")[0]

    @staticmethod
    def is_one(path: str) -> bool:
        return bool(_NAME.fullmatch(os.path.basename(path))) and os.path.isdir(path)

    def differences(self, git: Git) -> list[str]:
        """Paths where git sees another state than the commit: changed, removed, added, also
        ignored ones.
        """
        output = git(
            "-C", self.path, "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch",
            "-z", "--untracked-files=all", "--ignored=traditional", "--no-renames",
        )  # fmt: skip
        differing = []
        for entry in output.decode("utf-8", "surrogateescape").split("\0"):
            if entry.startswith("# branch.oid ") and entry[13:] != self.commit:
                raise CheckoutError(f"HEAD is {entry[13:]}, not the release")
            if entry[:1] in ("1", "u"):
                differing.append(entry.split(" ", 10 if entry[0] == "u" else 8)[-1])
            elif entry[:1] in ("?", "!"):
                differing.append(entry[2:])
        return differing

    def save_edits(self, git: Git, paths: list[str], patch: str, scratch: str) -> None:
        """Write what differs as a patch for `git apply`, whole or not at all; new files above
        1 MiB are only named in it. `scratch` is on the patch's file system.
        """
        import shutil  # only where edits are found: it costs an update 3 ms

        index = os.path.join(scratch, f"index-{os.getpid()}")
        objects = os.path.join(scratch, f"objects-{os.getpid()}")
        unfinished = os.path.join(scratch, f"patch-{os.getpid()}")
        os.makedirs(objects, exist_ok=True)
        os.makedirs(os.path.dirname(patch), mode=0o700, exist_ok=True)
        shutil.copyfile(os.path.join(self.path, ".git", "index"), index)
        own_objects = os.path.join(self.path, ".git", "objects")
        env = {
            "GIT_INDEX_FILE": index,
            "GIT_OBJECT_DIRECTORY": objects,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": own_objects,
        }
        small = [path for path in paths if _size(os.path.join(self.path, path)) <= _BIG_FILE]
        big = sorted(set(paths) - set(small))
        try:
            data = "".join(path + "\0" for path in small).encode("utf-8", "surrogateescape")
            git(
                "-C", self.path, "add", "--all", "--force", "--pathspec-from-file=-",
                "--pathspec-file-nul", env=dict(env, GIT_LITERAL_PATHSPECS="1"), data=data,
            )  # fmt: skip
            changes = git("-C", self.path, "diff", "--cached", "--binary", self.commit, env=env)
        finally:
            shutil.rmtree(objects, ignore_errors=True)
            if os.path.exists(index):
                os.unlink(index)
        head = f"Local edits found in {self.path}\n"
        head += "".join(f"Not kept, larger than 1 MiB: {path}\n" for path in big) + "\n"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(head.encode("utf-8", "surrogateescape") + changes)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(unfinished, patch)


def build(git: Git, mirror: str, commit: str, path: str, current: Release | None) -> Release:
    """Make the release at `path`, complete and on disk before it gets that name."""
    temporary = f"{path}.tmp-{os.getpid()}"
    os.mkdir(temporary, 0o755)
    old_mask = os.umask(0o222)
    try:
        _make_git_dir(temporary, mirror, commit)
        git("-C", temporary, "read-tree", commit)
        wanted = _entries(git, temporary)
        _make_folders(temporary, wanted)
        if current is not None:
            _link_unchanged(git, temporary, wanted, current)
        # Hashes what was linked: a file that was tampered with does not match, and is written anew.
        git("-C", temporary, "update-index", "-q", "--ignore-missing", "--refresh", accept=(0, 1))
        git("-C", temporary, "checkout-index", "--all", "--force", "--index", "--quiet")
        _seal(temporary)
    finally:
        os.umask(old_mask)
    os.rename(temporary, path)
    return Release(path)


def _make_git_dir(top: str, mirror: str, commit: str) -> None:
    folder = os.path.join(top, ".git")
    # Each made writable before the next is made in it: the mask takes that from new folders.
    for name in ("", "objects", "objects/info", "refs", "refs/heads", "info"):
        os.mkdir(os.path.join(folder, name))
        os.chmod(os.path.join(folder, name), 0o755)
    config = _CONFIG.format(version=0)
    if len(commit) == 64:
        config = _CONFIG.format(version=1) + "[extensions]\n\tobjectformat = sha256\n"
    contents = {
        "HEAD": "ref: refs/heads/deploy\n",
        "refs/heads/deploy": commit + "\n",
        "config": config,
        "info/attributes": _ATTRIBUTES,
        "objects/info/alternates": os.path.join(os.path.abspath(mirror), "objects") + "\n",
    }
    for name, text in contents.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
            stream.write(text)


def _entries(git: Git, top: str) -> dict[str, str]:
    """path -> "mode blob" of an index."""
    found = {}
    output = git("-C", top, "ls-files", "--stage", "-z").decode("utf-8", "surrogateescape")
    for entry in output.split("\0")[:-1]:
        about, _, path = entry.partition("\t")
        found[path] = about.rpartition(" ")[0]
    return found


def _make_folders(top: str, entries: dict[str, str]) -> None:
    made = {""}
    for path in entries:
        missing = []
        folder = os.path.dirname(path)
        while folder not in made:
            missing.append(folder)
            made.add(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            full = os.path.join(top, folder)
            os.mkdir(full)
            os.chmod(full, 0o755)


def _link_unchanged(git: Git, top: str, wanted: dict[str, str], current: Release) -> None:
    try:
        present = _entries(git, current.path)
    except CheckoutError:
        return  # the old release is damaged: everything is written anew
    for path, about in wanted.items():
        if present.get(path) != about or not about.startswith("100"):
            continue
        source = os.path.join(current.path, path)
        try:
            found = os.lstat(source)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if ours and not found.st_mode & 0o222:
                os.link(source, os.path.join(top, path), follow_symlinks=False)
        except OSError:
            continue  # removed, or the file system has no links: then it is written


def _seal(top: str) -> None:
    """Everything on disk, directories read-only: from here on only a rename is missing."""
    fresh = []
    for folder, _folders, files in os.walk(top, topdown=False):
        for name in files:
            full = os.path.join(folder, name)
            found = os.lstat(full)
            # A linked file was synced when it was written.
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                fresh.append(full)
        os.chmod(folder, 0o555)
        fresh.append(folder)
    if len(fresh) > _MANY_FILES and _sync_file_system(top):
        return
    for path in fresh:
        _sync(path)


def _sync_file_system(path: str) -> bool:
    """One syncfs(2), by coreutils' `sync`; False where there is none that can."""
    import subprocess

    try:
        done = subprocess.run(["sync", "-f", path], stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
