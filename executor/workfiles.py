"""Files of working copies: listing what a copy of a plugin's folder holds, and writing and removing
files without ever going through a link that leads out of the copy.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PARAM_JSON = "param.json"
_MANIFEST = "plugin.json"


class Listing:
    """What a copy of the folder `source` of the plugin tree `tree` holds.

    origins  name below the folder -> the file, or the link, to take it from
    refused  links that lead out of the tree or round in circles, each as "name -> target"

    A link that stays in its folder is taken as it is. One that leads elsewhere in the tree would
    dangle in the copy: what it leads to is taken. param.json is left out where a plugin begins.
    """

    __slots__ = ("_top", "_tree", "origins", "refused")

    def __init__(self, source: str, tree: str) -> None:
        self._top = os.path.realpath(source)
        self._tree = os.path.realpath(tree)
        self.origins: dict[str, str] = {}
        self.refused: list[str] = []
        if os.path.isfile(source):
            self.origins[os.path.basename(source)] = source
        else:
            self._add(source, "", (self._top,))

    def signature(self) -> tuple[int, int, int]:
        """(newest mtime in s, files, checksum over names, sizes, mtimes and modes): differs when the
        code may differ.
        """
        newest = total = 0
        for name, path in self.origins.items():
            try:
                found = os.lstat(path)
            except OSError:
                continue
            newest = max(newest, int(found.st_mtime))
            about = f"{name} {found.st_size} {found.st_mtime_ns} {found.st_mode}"
            total ^= zlib.crc32(about.encode("utf-8", "surrogateescape"))
        for name in self.refused:
            total ^= zlib.crc32(name.encode("utf-8", "surrogateescape"))
        return newest, len(self.origins), total

    def _add(self, folder: str, prefix: str, above: tuple[str, ...]) -> None:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            return
        begins = not prefix or any(entry.name == _MANIFEST for entry in entries)
        for entry in entries:
            name = prefix + entry.name
            if begins and entry.name.lower() == PARAM_JSON:
                continue
            if entry.is_symlink():
                self._add_link(entry.path, name, above)
            elif entry.is_dir(follow_symlinks=False):
                self._add(entry.path, name + "/", above)
            elif entry.is_file(follow_symlinks=False):
                self.origins[name] = entry.path

    def _add_link(self, path: str, name: str, above: tuple[str, ...]) -> None:
        target = os.path.realpath(path)
        written = os.readlink(path)
        at_home = is_within(os.path.realpath(os.path.dirname(path)), self._top)
        if at_home and not os.path.isabs(written) and is_within(target, self._top):
            self.origins[name] = path
        elif not is_within(target, self._tree) or any(is_within(f, target) for f in above):
            self.refused.append(f"{name} -> {written}")
        elif os.path.isdir(target):
            self._add(target, name + "/", (*above, target))
        else:
            # One that leads to nothing is copied as it stands, which harms nobody.
            self.origins[name] = target if os.path.isfile(target) else path


def is_within(path: str, folder: str) -> bool:
    """Whether a path, free of links, is the folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def below(folder: str) -> Iterator[str]:
    """Names, below a folder, of its files and links; links are not followed."""
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        for name in [*names, *links]:
            yield os.path.relpath(os.path.join(top, name), folder)


def changed(path: str) -> int:
    """A number that no program can set back; 0 where there is nothing."""
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return 0


def copy(origin: str, folder: str, name: str) -> None:
    """Copy a file or a link to `name` below `folder`. What stands in the way goes: a link or a file
    where a folder of the path should be, a folder where the file should be.
    """
    above = folder
    for part in name.split("/")[:-1]:
        above = os.path.join(above, part)
        if os.path.islink(above) or os.path.isfile(above):
            os.unlink(above)
    target = os.path.join(folder, name)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    if os.path.isdir(target) and not os.path.islink(target):
        remove_folder(target)
    remove(target)
    if os.path.islink(origin):
        os.symlink(os.readlink(origin), target)
        return
    with open(origin, "rb", buffering=0) as reader:
        mode = 0o700 if os.fstat(reader.fileno()).st_mode & 0o100 else 0o600
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, mode), "wb", buffering=0) as writer:
            while True:
                piece = reader.read(1 << 18)
                if not piece:
                    return
                view = memoryview(piece)
                while view:
                    view = view[writer.write(view) :]


def remove_below(folder: str, name: str) -> None:
    """Remove a file of a folder, unless the way to it leads through a link: then what stands there
    is somebody else's.
    """
    above = folder
    for part in name.split("/")[:-1]:
        above = os.path.join(above, part)
        if os.path.islink(above):
            return
    remove(os.path.join(folder, name))


def remove_folder(folder: str) -> None:
    """Remove a folder with all that it holds; links are removed, not followed."""
    for top, folders, names in os.walk(folder, topdown=False):
        for name in names:
            remove(os.path.join(top, name))
        for name in folders:
            path = os.path.join(top, name)
            if os.path.islink(path):
                remove(path)
            else:
                os.rmdir(path)
    os.rmdir(folder)


def remove(path: str) -> None:
    """Remove a file or link, if one is there."""
    # A directory: then writing the file says so.
    with contextlib.suppress(OSError):
        os.unlink(path)


def write_secret(path: str, text: str) -> None:
    """Write a file that only this user may read, whole or not at all."""
    temporary = path + ".tmp"
    remove(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    os.replace(temporary, path)


def read_secret(path: str) -> str | None:
    """What such a file holds; None where none is, or one that others may read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) != 0o600:
                return None
            return stream.read().decode("utf-8", "surrogateescape")
    except OSError:
        return None
