"""What is wrong with a manifest plugin's `metrics.json`, held against what its manifest declares
(rules: 1,906 definitions of 145 public plugins; agentplugin.definitions reads them)."""

from __future__ import annotations

from agentplugin import definitions, manifestjson
from agentplugin.paramtypes import brief
from agentplugin.problems import Problem, info, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from agentplugin.manifest import Manifest

MAX_BYTES = 1 << 20
"""What hosts and pages read of a metrics.json; public ones have some KiB."""

_MAX_NAMES = 5
_BOM = b"\xef\xbb\xbf"


def definition_problems(path: str, content: bytes, manifest: Manifest) -> list[Problem]:
    """All findings on one metrics.json, `path` for messages."""
    if len(content) > MAX_BYTES:
        return [_broken(path, f"has {len(content)} bytes, more than the {MAX_BYTES} that are read")]
    try:
        # Hosts and pages read it with a byte order mark too.
        found, _ = manifestjson.read(content[3:] if content.startswith(_BOM) else content, path)
    except manifestjson.ManifestError as err:
        excerpt = f"\n{err.excerpt}" if err.excerpt else ""
        message = f"is not JSON: line {err.line} column {err.column}: {err.message}{excerpt}"
        return [_broken(path, message, err.line)]
    pairs, strange = definitions.entries(found)
    problems: list[Problem] = []
    if strange:
        problems.append(
            warning(
                path,
                "metrics-json-shape",
                f"{strange} of the entries cannot be read as the definition of a metric",
                'write {"NAME": {...}}, {"result": [{"name": "NAME", ...}]} or [{"name": "NAME"}]',
            )
        )
    for word, names in _strange_words(pairs, "unit", definitions.UNITS):
        unit = definitions.meant_unit(word)
        say = info if unit else warning
        problems.append(
            say(
                path,
                "metric-unit",
                f"the unit {shown(word)} of {names} is no known word: it counts as "
                f"{unit or 'number'}",
                f"use one of {', '.join(definitions.UNITS)}",
            )
        )
    for word, names in _strange_words(pairs, "defaultAggregate", definitions.AGGREGATES):
        aggregate = definitions.meant_aggregate(word)
        say = info if aggregate else warning
        problems.append(
            say(
                path,
                "metric-aggregate",
                f"the defaultAggregate {shown(word)} of {names} is no known word: it counts as "
                f"{aggregate or 'avg'}",
                f"use one of {', '.join(definitions.AGGREGATES)}",
            )
        )
    return problems + _missing(path, {name for name, _ in pairs}, manifest)


def _missing(path: str, defined: set[str], manifest: Manifest) -> list[Problem]:
    """Metrics that only one of the two files has."""
    listed = {metric.upper() for metric in manifest.metrics}
    problems: list[Problem] = []
    if listed - defined:
        problems.append(
            warning(
                manifest.path,
                "metric-undefined",
                f"metrics lists {_names(listed - defined)} without a definition in "
                f"{definitions.FILE_NAME}: pages show the bare name, without a unit",
                "define it there, as the others are",
                pointer="/metrics",
            )
        )
    if listed and defined - listed:
        problems.append(
            warning(
                path,
                "metric-unlisted",
                f"{_names(defined - listed)} is defined, but the manifest's metrics does not list "
                "it: its values are set aside as undeclared",
                "list it in metrics, or remove the definition",
            )
        )
    return problems


def _strange_words(
    pairs: list[tuple[str, dict[str, Any]]], field: str, known: tuple[str, ...]
) -> list[tuple[str, str]]:
    """The words that stand in a field and are none of the known ones, each with who has it."""
    users: dict[str, set[str]] = {}
    for name, fields in pairs:
        written = fields.get(field)
        word = written if isinstance(written, str) else brief(written)
        if written is not None and word.strip().lower() not in known:
            users.setdefault(word, set()).add(name)
    return [(word, _names(users[word])) for word in sorted(users)[:_MAX_NAMES]]


def _broken(path: str, what: str, line: int | None = None) -> Problem:
    return warning(
        path,
        "metrics-json-broken",
        f"the file with the metrics' definitions {what}; none is used",
        "mend the syntax",
        line,
    )


def _names(names: Iterable[str]) -> str:
    """The first few of some names."""
    ordered = sorted(names)
    few = ", ".join(shown(name, 50) for name in ordered[:_MAX_NAMES])
    return few if len(ordered) <= _MAX_NAMES else f"{few} and {len(ordered) - _MAX_NAMES} more"
