"""What is wrong with the files beside a plugin.json that people and npm read: the icon, package.json
(rules: 145 public icons; 51 manifests that run `npm install`)."""

from __future__ import annotations

import json
import os

from agentplugin.commandline import split_words
from agentplugin.manifestcode import own_file
from agentplugin.problems import Problem, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.manifest import Manifest

ICON_PIXELS = 48
MAX_ICON_BYTES = 262_144
"""What a page shows; public icons have some KiB."""

_PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_MAX_PACKAGE_BYTES = 1 << 20
_GONE = "graphdat-plugin-tools"  # 47 of 54 public node plugins need it; npm answers 404


def png_size(head: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG image in pixels, from its first 24 bytes; None for anything else."""
    if len(head) < 24 or not head.startswith(_PNG_HEAD):
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def icon_problems(manifest: Manifest, folder: str) -> list[Problem]:
    """Findings on the icon that a manifest names."""
    if not manifest.icon:
        return []
    full = own_file(folder, manifest.icon)
    if full is None:
        return [
            warning(
                manifest.path,
                "manifest-icon-missing",
                f"the icon {shown(manifest.icon)} is not in the folder",
                "add the file or remove the field",
                pointer="/icon",
            )
        ]
    try:
        with open(full, "rb") as file:
            size = png_size(file.read(24))
    except OSError:
        # The unreadable file has its finding already.
        return []
    if size == (ICON_PIXELS, ICON_PIXELS) and os.path.getsize(full) <= MAX_ICON_BYTES:
        return []
    if size is None:
        what = "is no PNG image, so no page shows it"
    elif os.path.getsize(full) > MAX_ICON_BYTES:
        what = f"has {os.path.getsize(full)} bytes, more than the {MAX_ICON_BYTES} a page shows"
    else:
        what = f"is {size[0]}x{size[1]} pixels, so pages scale it"
    return [
        warning(
            manifest.path,
            "manifest-icon-format",
            f"the icon {shown(manifest.icon)} {what}",
            f"make it a PNG of {ICON_PIXELS}x{ICON_PIXELS} pixels",
            pointer="/icon",
        )
    ]


def npm_problems(manifest: Manifest, folder: str) -> list[Problem]:
    """What `npm install` would look for in vain."""
    words = split_words(manifest.post_extract.strip())
    if words[0].rpartition("/")[2] != "npm" or own_file(
        folder, f"node_modules/{_GONE}/package.json"
    ):
        return []
    named = any(word.partition("@")[0] == _GONE for word in words)
    if not named and _GONE not in _dependencies(folder):
        return []
    return [
        warning(
            manifest.path,
            "manifest-npm-gone",
            f"the postExtract {shown(manifest.post_extract)} needs the package {_GONE}, which is "
            "gone from npm (404): it fails, and the plugin is never started",
            f"put {_GONE} 0.0.1 into a folder that executor.node_modules names (npm install is then "
            "content), or set executor.postextract to skip and executor.node_path to a folder of "
            "modules",
            pointer="/postExtract",
        )
    ]


def _dependencies(folder: str) -> set[str]:
    """The packages that package.json asks for; none where it is missing or broken."""
    full = own_file(folder, "package.json")
    if full is None or os.path.getsize(full) > _MAX_PACKAGE_BYTES:
        return set()
    try:
        with open(full, encoding="utf-8-sig") as file:
            package = json.load(file)
    except (OSError, ValueError, RecursionError):
        return set()
    named = package.get("dependencies") if isinstance(package, dict) else None
    return set(named) if isinstance(named, dict) else set()
