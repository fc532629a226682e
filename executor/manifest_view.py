"""What `/plugins` and `/plugins/detail` say about a manifest plugin."""

from __future__ import annotations

import os

from agentplugin import definitions, formats
from agentplugin.manifest import ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from executor.workcopy import WorkCopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.definitions import Definition
    from agentplugin.manifest import Manifest
    from executor.manifest_plugin import ManifestPlugin

_MAX_NAMES = 50
_MAX_DEFINITIONS_BYTES = 1 << 20


def entry(plugin: ManifestPlugin) -> dict[str, Any]:
    """The entry of `/plugins`: the agent's four fields first, then ours."""
    output = plugin.output
    return {
        "FilePath": plugin.path,
        "MTime": plugin.code_time,
        "Cycle": plugin.cycle,
        "Args": ",".join(plugin.args),
        "Kind": plugin.kind,
        "State": plugin.state,
        "Reason": plugin.reason,
        "Running": plugin.running,
        "LastRun": plugin.last_run,
        "NextRun": plugin.next_run(),
        "Runs": plugin.runs,
        "Missed": plugin.missed,
        "Samples": output.samples,
        "LastValue": output.last_value,
        "Format": plugin.format,
        "Rejected": output.rejected,
        "Undeclared": output.undeclared,
        "Throttled": output.throttled,
        "Events": output.events,
        "Messages": output.messages,
        "Drifts": plugin.drifts,
    }


def detail(plugin: ManifestPlugin, state_dir: str, tree: str) -> dict[str, Any]:
    """The entry, and what takes reading files or is too long for a list of all plugins."""
    manifest = _manifest(plugin)
    found = dict(entry(plugin))
    if manifest is not None:
        found["Name"] = manifest.name
        found["Version"] = manifest.version
        found["Description"] = manifest.description
        copy = WorkCopy(state_dir, tree, plugin.path, manifest.ignores)
        added = copy.added() if os.path.isdir(copy.folder) else []
        found["AddedFiles"] = {"count": len(added), "names": added[:_MAX_NAMES]}
        head = copy.head
        found["PostExtract"] = {"command": head.extracted, "protection": head.protection}
    found["Metrics"] = _metrics(plugin, manifest)
    found["Quarantined"] = plugin.output.quarantined
    found["DriftFiles"] = plugin.drift[:_MAX_NAMES]
    found["RecentEvents"] = list(plugin.output.recent_events)
    found["RecentMessages"] = list(plugin.output.recent_messages)
    return found


def described(source: str) -> dict[str, Definition]:
    """The definitions of the folder's metrics.json by name; none where it is missing or broken (the
    lint says that).
    """
    try:
        with open(os.path.join(source, definitions.FILE_NAME), "rb") as stream:
            return definitions.read(stream.read(_MAX_DEFINITIONS_BYTES))
    except (OSError, ValueError):
        return {}


def help_text(definition: Definition) -> str:
    """A HELP line's text: what it is, its unit, and how values of it go together."""
    name = definition.description or definition.display_name or definition.name
    return f"{name} (unit {definition.unit}, {definition.aggregate})"


def _manifest(plugin: ManifestPlugin) -> Manifest | None:
    try:
        with open(os.path.join(plugin.source, MANIFEST_NAME), "rb") as stream:
            return parse(stream.read())
    except (OSError, ManifestError):
        return None


def _metrics(plugin: ManifestPlugin, manifest: Manifest | None) -> list[dict[str, Any]]:
    """Each declared metric with its definition, and null where it has none."""
    if manifest is None or plugin.format != formats.BOUNDARY:
        return []
    known = described(plugin.source)
    shown = []
    for metric in manifest.metrics:
        definition = known.get(metric.upper())
        about = definition.as_dict() if definition is not None else None
        shown.append({"name": metric.upper(), "definition": about})
    return shown
