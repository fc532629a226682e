"""`python -m executor.build OUT.pyz`: the executor and agentplugin as one file, the same bytes for
the same sources.
"""

from __future__ import annotations

import os
import sys
import zipfile

_SHEBANG = b"#!/usr/bin/env python3\n"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_PACKAGES = ("agentplugin", "executor")
_LEFT_OUT = ("executor/build.py",)


def build(target: str) -> None:
    """Write the archive to `target`, executable, whole or not at all."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    temporary = f"{target}.tmp-{os.getpid()}"
    with open(temporary, "wb") as stream:
        stream.write(_SHEBANG)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", os.path.join(root, "executor", "__main__.py"))
            for name in _modules(root):
                _add(archive, name, os.path.join(root, name))
    os.chmod(temporary, 0o755)
    os.replace(temporary, target)


def _modules(root: str) -> list[str]:
    names = [
        f"{package}/{name}"
        for package in _PACKAGES
        for name in os.listdir(os.path.join(root, package))
        if name.endswith(".py")
    ]
    return sorted(set(names) - set(_LEFT_OUT))


def _add(archive: zipfile.ZipFile, name: str, path: str) -> None:
    # No time, owner or mode of the machine that builds may reach the bytes.
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    with open(path, "rb") as stream:
        archive.writestr(entry, stream.read(), compresslevel=9)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m executor.build OUT.pyz", file=sys.stderr)
        return 2
    build(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
