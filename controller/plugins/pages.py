"""What is read from a release for one plugin's page: its manifest, metrics, dashboards, icon, README.

All of it is text and one PNG; nothing of it is rendered here, and nothing is executed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentplugin import dashboards, definitions
from agentplugin.companions import MAX_ICON_BYTES, png_size
from agentplugin.forms import form
from agentplugin.manifest import Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from controller.catalog.compose import Entry
from controller.catalog.tree import GitTree
from controller.plugins.offered import MANIFEST, MOST_MANIFEST, Offered, storable

_MOST_README = 200_000  # bytes


@dataclass(frozen=True)
class Icon:
    """A PNG; `digest` is git's name of its content."""

    content: bytes
    digest: str


@dataclass(frozen=True)
class Content:
    """What a plugin's folder holds for people; of a plugin directory only the README.

    Attributes:
        form: agentplugin.forms' description, or None.
        metrics: each declared metric with its definition's fields.
        readme: as it was written, cut to 200,000 bytes.
    """

    manifest: Manifest | None
    form: dict[str, Any] | None
    metrics: list[dict[str, Any]]
    dashboards: list[dict[str, Any]]
    has_icon: bool
    readme: str


def read(tree: GitTree, plugin: Offered) -> Content:
    """Everything of one plugin's page that stands in its folder."""
    manifest = read_manifest(tree, plugin)
    metrics: list[dict[str, Any]] = []
    boards: list[dict[str, Any]] = []
    if manifest is not None:
        metrics = _metrics(manifest, _definitions(tree, plugin))
        boards = [board.as_dict() for board in dashboards.read(manifest)]
    return Content(
        manifest=manifest,
        form=form_of(manifest),
        metrics=storable(metrics),
        dashboards=storable(boards),
        has_icon=icon(tree, plugin, manifest) is not None,
        readme=_readme(tree, plugin),
    )


def form_of(manifest: Manifest | None) -> dict[str, Any] | None:
    """agentplugin.forms' description of a manifest's configuration, as JSON can carry it."""
    found: dict[str, Any] | None = None if manifest is None else storable(form(manifest))
    return found


def read_manifest(tree: GitTree, plugin: Offered) -> Manifest | None:
    """A plugin's manifest; None where it has none, or one that cannot be read."""
    if plugin.kind != MANIFEST:
        return None
    content = _small(tree, _path(plugin, MANIFEST_NAME), MOST_MANIFEST)
    try:
        return None if content is None else parse(content)
    except ManifestError:
        return None


def icon(tree: GitTree, plugin: Offered, manifest: Manifest | None) -> Icon | None:
    """The icon that a manifest names, if that is a PNG in its folder and no larger than an icon is."""
    if manifest is None or not manifest.icon or "\0" in manifest.icon:
        return None
    inside = posixpath.normpath(manifest.icon)
    if inside.startswith(("/", "..")):
        return None
    file = tree.file(_path(plugin, inside))
    if file is None or file.size > MAX_ICON_BYTES:
        return None
    content = tree.read_all([file])[file.blob]
    return Icon(content, file.blob) if png_size(content[:24]) else None


def findings(plugin: Offered, problems: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What the lint says of one plugin: of all of a manifest's folder, of a directory's own files."""

    def concerns(path: str) -> bool:
        if path == plugin.path:
            return True
        if plugin.kind == MANIFEST:
            return plugin.path == "." or path.startswith(f"{plugin.path}/")
        return (posixpath.dirname(path) or ".") == plugin.path

    return [problem for problem in problems if concerns(str(problem["path"]))]


def _path(plugin: Offered, name: str) -> str:
    return name if plugin.path == "." else f"{plugin.path}/{name}"


def _small(tree: GitTree, path: str, most: int) -> bytes | None:
    file = tree.file(path)
    return None if file is None or file.size > most else tree.read_all([file])[file.blob]


def _definitions(tree: GitTree, plugin: Offered) -> Mapping[str, definitions.Definition]:
    content = _small(tree, _path(plugin, definitions.FILE_NAME), MOST_MANIFEST)
    try:
        return definitions.read(content) if content else {}
    except ValueError:
        return {}


def _metrics(
    manifest: Manifest, known: Mapping[str, definitions.Definition]
) -> list[dict[str, Any]]:
    shown = []
    for name in dict.fromkeys(metric.upper() for metric in manifest.metrics):
        definition = known.get(name)
        shown.append(
            {
                "name": name,
                "display_name": definition.display_name if definition else "",
                "description": definition.description if definition else "",
                "unit": definition.unit if definition else None,
                "aggregate": definition.aggregate if definition else None,
            }
        )
    return shown


def _readme(tree: GitTree, plugin: Offered) -> str:
    names = tree.listdir(plugin.path)
    file: Entry | None = None
    for name in names:
        stem = name.lower().partition(".")[0]
        if stem == "readme" and (file := tree.file(_path(plugin, name))) is not None:
            break
    if file is None or file.size > _MOST_README * 10:
        return ""
    text = tree.read_all([file])[file.blob][:_MOST_README].decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")
